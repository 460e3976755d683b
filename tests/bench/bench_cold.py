"""Epochs of a store that is not in the page cache, against reading its file from front to back, in one run.

    PYTHONPATH=. python tests/bench/bench_cold.py [--rows 83334] [--rounds 5] [--folder DIR]

Images of 64 × 64. Before each run the file's pages are dropped, and `mincore` has to say so. What a system reads ahead
by itself decides how much there is to gain, and is printed: usual are 128 kB.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imgassets.mapping import Mapped
from imgassets.stores import Store, open_store
from imgassets.testing.making import arrays, make
from tests.bench.measuring import Table


def drop(file: Path) -> None:
    """Drop a file's pages."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    size = file.stat().st_size
    mapped, pages = Mapped([file], [size]), np.arange(0, size, 4096)
    left = sum(mapped.resident(pages[k : k + 1]) for k in range(1, len(pages), 997))
    assert left < 3, f"{left} of {len(pages) // 997} sampled pages of {file} are still in memory"


def front_to_back(file: Path) -> None:
    """Read a file into the same 4 MB again and again."""
    memory = bytearray(4 << 20)
    with file.open("rb", buffering=0) as opened:
        while opened.readinto(memory):
            pass


def epoch(folder: Path, shuffle: Any, *, ahead: bool = True) -> None:
    """One epoch of a store opened for it, perhaps one that does not read ahead."""
    store = open_store(folder)
    if not ahead:
        store.ahead = lambda rows: []  # type: ignore[method-assign]
    for _ in store.loader(256, shuffle=shuffle):
        pass


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=83_334)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=None, help="of the file system to read from; default: that of /tmp")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        folder = make(Path(root), arrays(options.rows, (64, 64, 3)), "memmap")
        store = open_store(folder)
        assert isinstance(store, Store)
        file = folder / next(record.name for record in store.info.shards[0].files if "image" in record.name)
        store.close()
        runs: dict[str, Callable[[], Any]] = {
            "the file, front to back": lambda: front_to_back(file),
            "unshuffled": lambda: epoch(folder, False),
            "block shuffle": lambda: epoch(folder, "block"),
            "block shuffle, not read ahead": lambda: epoch(folder, "block", ahead=False),
            "exact shuffle": lambda: epoch(folder, True),
            "exact shuffle, not read ahead": lambda: epoch(folder, True, ahead=False),
        }
        device = os.stat(file).st_dev
        known = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/bdi/read_ahead_kb")
        print(f"the system reads ahead {known.read_text().strip() if known.exists() else '?'} kB")
        table = Table(f"Cold: {options.rows:,} images of 12 kB", "images", "the file, front to back")
        table.run(options.rounds, runs, lambda: drop(file))
        table.show(options.rows)


if __name__ == "__main__":
    main()

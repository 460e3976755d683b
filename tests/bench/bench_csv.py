"""What a SystemDS CSV sample costs, next to other writers and to a plain write of the same bytes; all in one run.

    python tests/bench/bench_csv.py [--gib 2] [--rounds 5] [--folder DIR]

First CPU ns per value of each way to write the same rows as text. Then whole samples against writing and syncing
as many bytes, in turns, wall and CPU seconds. Last the peak memory of a process that makes one, at two sizes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from imgassets.commit import Location, Recipe, Stage
from imgassets.formats.systemds_csv import BATCH, SampleFacts, encode, most_rows, write_sample
from imgassets.sampling import quota_order

WIDTH = 3 * 64 * 64
ROWS_PER_GIB = 10_200


class FileRows:
    """Rows of a file, read where they lie; the columns of their labels go round the classes."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.fd).st_size
        self.width = WIDTH

    def __len__(self) -> int:
        return self.size // WIDTH

    def take(self, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        for row, index in zip(out, indices.tolist(), strict=True):
            os.preadv(self.fd, [row.data], index * WIDTH)

    def check(self) -> int:
        """One pass over all bytes, as the index of a dataset makes."""
        buffer, crc = memoryview(bytearray(1 << 20)), 0
        for offset in range(0, self.size, len(buffer)):
            crc = isal_zlib.crc32(buffer[: os.preadv(self.fd, [buffer], offset)], crc)
        return crc


def photos(rows: int, seed: int) -> NDArray[np.uint8]:
    """Pixels (rows, WIDTH) with the statistics that matter here: neighbours are alike, and every level is used."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 12, (rows, WIDTH)).astype(np.float32)
    walk = np.cumsum(steps, axis=1) + rng.uniform(40, 215, (rows, 1)).astype(np.float32)
    folded = np.abs(walk) % 510
    return np.minimum(folded, 510 - folded).astype(np.uint8)


def make_rows(path: Path, rows: int) -> None:
    with open(path, "wb") as file:
        for start in range(0, rows, 1000):
            file.write(photos(min(1000, rows - start), start).data)


def sample(source: Path, folder: Path, gib: float, threads: int) -> SampleFacts:
    """Check, sample, encode, write, fsync: what an asset does."""
    rows = FileRows(source)
    rows.check()
    columns = np.arange(len(rows)) % 1000
    order = quota_order(columns, 0, stop=most_rows(gib, WIDTH))
    stage = Stage(Location(folder.parent, folder, folder=True), Recipe("bench/csv", "val", {}, {}, "csv/1", "1"))
    stage.open(resume=False)
    facts = write_sample(stage, rows, order, columns, split="val", gib=gib, threads=threads)
    stage.publish({}, ())
    os.close(rows.fd)
    return facts


def raw_write(path: Path, nbytes: int, chunk: bytes, *, sync: bool) -> None:
    with open(path, "wb", buffering=0) as file:
        view = memoryview(chunk)
        while nbytes:
            nbytes -= file.write(view[:nbytes])
        if sync:
            os.fsync(file.fileno())


def measure(task: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu


def plain(pixels: NDArray[np.uint8], path: Path) -> None:
    """What the other writers do, too: text into a file, no more."""
    with open(path, "wb", buffering=0) as file:
        for start in range(0, len(pixels), BATCH):
            file.write(encode(pixels[start : start + BATCH]))


def ours(pixels: NDArray[np.uint8], path: Path) -> None:
    stage = Stage(Location(path.parent, path, folder=True), Recipe("bench/csv", "val", {}, {}, "csv/1", "1"))
    stage.open(resume=False)
    with stage.create("x.csv") as sink:
        for start in range(0, len(pixels), BATCH):
            sink.write(encode(pixels[start : start + BATCH]))
    stage.discard()


def with_polars(values: NDArray[np.float32], path: Path) -> None:
    import polars

    polars.from_numpy(values).write_csv(path, include_header=False)


def with_arrow(values: NDArray[np.float32], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    table = pa.Table.from_arrays(list(np.ascontiguousarray(values.T)), names=[str(i) for i in range(values.shape[1])])
    csv.write_csv(table, path, csv.WriteOptions(include_header=False))


def bench_encoders(folder: Path) -> None:
    pixels = photos(384, 1)
    values = pixels.astype(np.float32) / np.float32(255)
    text = b"".join(encode(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH))
    path = folder / "x.csv"
    ways: dict[str, Callable[[], object]] = {
        "raw write of the same bytes": lambda: raw_write(path, len(text), text, sync=False),
        "imgassets, encoded and written": lambda: plain(pixels, path),
        "imgassets, checksummed, synced": lambda: ours(pixels, folder / "stage"),
        "polars": lambda: with_polars(values, path),
        "pyarrow.csv": lambda: with_arrow(values, path),
        "np.savetxt %.6f": lambda: np.savetxt(path, values, fmt="%.6f", delimiter=","),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(6):
        for name, task in ways.items():
            task()  # what a new page of the file cache costs depends on who had it last: this leaves each its own
            path.unlink(missing_ok=True)
            cpu = measure(task)[1]
            path.unlink(missing_ok=True)
            if turn:
                found[name].append(cpu / pixels.size * 1e9)
    cost = {name: statistics.median(times) for name, times in found.items()}
    print(f"{'CPU of writing rows as text':<32}{'ns/value':>10}{'x ours':>9}{'x raw':>9}")
    for name, ns in cost.items():
        raw, mine = cost["raw write of the same bytes"], cost["imgassets, encoded and written"]
        print(f"{name:<32}{ns:>10.2f}{ns / mine:>9.2f}{ns / raw:>9.2f}")


def bench_samples(folder: Path, gib: float, rounds: int) -> None:
    source = folder / "rows.bin"
    make_rows(source, int(gib * ROWS_PER_GIB))
    chunk = os.urandom(8 << 20)
    nbytes = int(gib * 2**30)
    ways: dict[str, Callable[[], object]] = {
        "raw write + fsync": lambda: raw_write(folder / "raw", nbytes, chunk, sync=True),
        "sample, 1 thread": lambda: sample(source, folder / "val", gib, 1),
        "sample, 2 threads": lambda: sample(source, folder / "val", gib, 2),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, task in ways.items():
            os.sync()
            times = measure(task)
            (folder / "raw").unlink(missing_ok=True)
            shutil.rmtree(folder / "val", ignore_errors=True)
            if turn:  # the first round brings the file cache and the disk to their pace
                found[name].append(times)
    base = statistics.median(wall for wall, _ in found["raw write + fsync"])
    print(f"\n{f'{gib:g} GiB, median of {rounds} rounds':<32}{'wall s':>10}{'range':>13}{'CPU s':>9}{'x raw':>9}")
    for name, times in found.items():
        walls = [wall for wall, _ in times]
        wall, cpu = statistics.median(walls), statistics.median(cpu for _, cpu in times)
        print(f"{name:<32}{wall:>10.2f}{f'{min(walls):.2f}-{max(walls):.2f}':>13}{cpu:>9.2f}{wall / base:>9.2f}")


def bench_memory(folder: Path, gib: float) -> None:
    print(f"\n{'peak memory beyond imports':<32}{'MB':>10}")
    for part in (gib / 4, gib / 2):
        command = [sys.executable, __file__, "--folder", str(folder), "--gib", str(part), "--memory"]
        peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"{f'sample of {part:g} GiB, 2 threads':<32}{float(peak):>10.0f}")


def peak_mb() -> float:
    """Peak resident memory of this program; ru_maxrss would count the process it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to write; default: the system's temporary folder"
    )
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        import pyarrow as pa

        pa.array([1])
        before = peak_mb()
        sample(options.folder / "rows.bin", options.folder / "memory", options.gib, 2)
        print(peak_mb() - before)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        bench_encoders(Path(name))
        bench_samples(Path(name), options.gib, options.rounds)
        bench_memory(Path(name), options.gib)


if __name__ == "__main__":
    main()

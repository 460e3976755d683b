"""Reading NPZ batches: CPU seconds beside numpy's and beside a plain copy, and peak memory.

python tests/bench/bench_npz.py [--rows N] [--full]     --full: 128,116 rows, as in a train batch at 64×64; 4 GB of disk
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xxhash

from imgassets.sources.imagenet_npz import open_batch

FULL = 128_116
WIDTH = 12_288


def images(rows: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Patches of colour with some noise: like photographs, it deflates to a little under its size."""
    rng = np.random.default_rng(seed)
    for start in range(0, rows, 1000):
        n = min(1000, rows - start)
        coarse = rng.integers(0, 240, (n, 3, 8, 8), dtype=np.uint8)
        noise = rng.integers(0, 17, (n, 3, 64, 64), dtype=np.uint8)
        yield (coarse.repeat(8, 2).repeat(8, 3) + noise).reshape(n, WIDTH)


def write_batch(path: Path, rows: int, *, deflated: bool) -> None:
    """As np.savez(_compressed) would, without holding the batch in memory."""
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    labels = np.random.default_rng(1).integers(1, 1001, rows)
    with zipfile.ZipFile(path, "w", method) as archive:
        with archive.open("data.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (rows, WIDTH)}
            np.lib.format.write_array_header_1_0(member, header)
            for block in images(rows):
                member.write(block.data)
        for name, array in (("labels", labels), ("mean", np.full(WIDTH, 120.0))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def plain_copy(source: Path, target: Path) -> None:
    buffer = memoryview(bytearray(1 << 20))
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        while n := read.readinto(buffer):
            write.write(buffer[:n])


def checked_copy(source: Path, target: Path) -> None:
    """What the arrays asset does with its images: CRC-32 on the way in, XXH3-128 on the way out."""
    digest = xxhash.xxh3_128()
    with target.open("wb", buffering=0) as write:
        for block in open_batch(source).blocks():
            digest.update(block.data)
            write.write(block.data)


def sweep(path: Path) -> None:
    for _ in open_batch(path).blocks():
        pass


def load(path: Path) -> np.ndarray:
    with np.load(path) as file:
        data: np.ndarray = file["data"]
    return data


def compare(title: str, nbytes: int, tasks: dict[str, Callable[[], object]], repeats: int = 7) -> None:
    """Best CPU time of each task, taken in turns so that all see the same machine; ratios are to the first."""
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(repeats):
        for name, task in tasks.items():
            begin = time.process_time()
            task()
            best[name] = min(best[name], time.process_time() - begin)
    base = next(iter(best.values()))
    print(f"\n{title}")
    for name, seconds in best.items():
        print(
            f"  {name:<40}{seconds * 1e3:9.2f} ms {nbytes / seconds / 1e9:7.2f} GB/s"
            f"   ×{seconds / base:.3f}  1/{base / seconds:.1f}"
        )


def peak() -> int:
    """Highest resident memory of this process so far, in KiB (ru_maxrss would count the parent's before exec)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure(task: str, path: Path) -> None:
    before = peak()
    begin, cpu = time.perf_counter(), time.process_time()
    batch = open_batch(path)
    if task == "blocks":
        sweep(path)
    elif task == "inspect":
        batch.inspect()
    else:
        batch.take(np.random.default_rng(0).integers(0, batch.rows, 1000))
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(
        f"  {task:<10}{'stored' if batch.stored else 'deflated':<10}+{(peak() - before) / 1024:6.1f} MiB"
        f"   {cpu:6.2f} s CPU {wall:6.2f} s wall, {batch.rows:,} rows"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=25_600)
    parser.add_argument("--full", dest="rows", action="store_const", const=FULL)
    parser.add_argument("--measure", nargs=2, metavar=("TASK", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        stored, deflated, target = (Path(folder, name) for name in ("stored.npz", "deflated.npz", "target"))
        write_batch(stored, options.rows, deflated=False)
        write_batch(deflated, options.rows // 4, deflated=True)
        packed = open_batch(deflated).members["data"]
        print(
            f"stored {stored.stat().st_size / 1e6:.0f} MB, deflated {packed.bytes / 1e6:.0f} MB "
            f"to {packed.packed_bytes / packed.bytes:.2f}"
        )
        nbytes, some = options.rows * WIDTH, np.random.default_rng(0).integers(0, options.rows, 1000)
        compare(
            "stored, copied to another file (goal: ×1.4)",
            nbytes,
            {
                "plain read and write": lambda: plain_copy(stored, target),
                "blocks + CRC-32 + XXH3-128 + write": lambda: checked_copy(stored, target),
            },
        )
        target.unlink()
        compare(
            "stored, read through",
            nbytes,
            {
                "np.load": lambda: load(stored),
                "blocks + CRC-32": lambda: sweep(stored),
                "inspect": lambda: open_batch(stored).inspect(),
            },
        )
        compare(
            "stored, 1000 random rows (goal: 1/30)",
            1000 * WIDTH,
            {
                "np.load": lambda: load(stored)[some],
                "open_batch + take": lambda: open_batch(stored).take(some),
                "open_batch + images": lambda: open_batch(stored).images[some],
            },
        )
        compare(
            "deflated, read through (goal: 1/1.8)",
            packed.bytes,
            {
                "np.load": lambda: load(deflated),
                "blocks + CRC-32": lambda: sweep(deflated),
                "inspect": lambda: open_batch(deflated).inspect(),
            },
            repeats=3,
        )
        compare("headers", 1, {"open_batch": lambda: open_batch(stored)})
        print("\npeak memory beyond imports")
        for path in (stored, deflated):
            for task in ("blocks", "inspect", "take"):
                subprocess.run([sys.executable, __file__, "--measure", task, path], check=True, env=dict(os.environ))


if __name__ == "__main__":
    main()

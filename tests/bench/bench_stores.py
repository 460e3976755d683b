"""Image stores beside the limits of the machine and beside other formats, in one run.

python tests/bench/bench_stores.py [--rows 20000] [--rounds 3] [--only fixed,files,convert,memory]

Peers that are installed take part (`pip install 'imgassets[bench]'`). CPU seconds are the sturdier column; each epoch's
pixels are summed and compared, so that nothing is compared with a reader that reads less.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253  (only benchmarks load this)
from isal.isal_zlib import crc32

from imgassets.sources.arrays import ArraySource
from imgassets.store import Store, open_store
from imgassets.store.items import collate
from tests.bench import store_peers as peers
from tests.store.making import make

BATCH = 256
FORMATS = ("memmap", "hdf5", "parquet", "ipc", "tar")


def cpu() -> float:
    """CPU seconds of this process and of those of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds, result."""
    gc.collect()
    wall, spent = time.perf_counter(), cpu()
    result = function()
    return time.perf_counter() - wall, cpu() - spent, result


class Table:
    """Medians over rounds, as ratios to the first row."""

    def __init__(self, title: str, unit: str) -> None:
        self.title, self.unit = title, unit
        self.rows: dict[str, list[tuple[float, float]]] = {}

    def add(self, name: str, wall: float, spent: float) -> None:
        self.rows.setdefault(name, []).append((wall, spent))

    def show(self, count: int) -> None:
        print(f"\n## {self.title}\n\n| | {self.unit}/s | x | {self.unit}/CPU s | x |\n|---|---|---|---|---|")
        medians = {name: [statistics.median(v) for v in zip(*some, strict=True)] for name, some in self.rows.items()}
        first = next(iter(medians.values()))
        for name, (wall, spent) in medians.items():
            print(
                f"| {name} | {count / wall:,.0f} | {first[0] / wall:.3g} "
                f"| {count / max(spent, 1e-9):,.0f} | {first[1] / max(spent, 1e-9):.3g} |",
                flush=True,
            )


def epoch(store: Store, order: np.ndarray, out: torch.Tensor) -> None:
    for at in range(0, len(order), BATCH):
        store.batch(order[at : at + BATCH], out=out)


def drain(batches: Any) -> int:
    return sum(len(images) for images, *_ in batches)


def h5py_epoch(path: Path, order: np.ndarray, per_file: int) -> None:
    import h5py

    files = [h5py.File(p)["image"] for p in sorted(path.glob("*.h5"))]
    for at in range(0, len(order), BATCH):
        rows = np.sort(order[at : at + BATCH])
        for k, dataset in enumerate(files):
            some = rows[(rows >= k * per_file) & (rows < (k + 1) * per_file)] - k * per_file
            if len(some):
                dataset[some]


def parquet_epoch(path: Path) -> None:
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    for name in sorted(path.glob("*.parquet")):
        file = pq.ParquetFile(name)
        for group in random.permutation(file.num_row_groups):
            table = file.read_row_group(int(group))
            pixels = np.frombuffer(table["image"].combine_chunks().buffers()[1], np.uint8).reshape(len(table), -1)
            pixels[random.permutation(len(table))]


def fixed(folder: Path, rows: int, rounds: int) -> None:
    """64x64x3 images: writing, an exact shuffle, two workers."""
    images = np.random.default_rng(0).integers(0, 256, (rows, 3, 64, 64), np.uint8)
    labels = np.arange(rows) % 1000
    source, per_file = ArraySource([(images, labels)]), max(1, rows // 4)
    torch.set_num_threads(1)
    make(folder / "warm", source, "ipc")
    writing = Table("Writing, with fsync", "images")
    paths: dict[str, Path] = {}
    for k in range(rounds):
        for name in FORMATS:
            wall, spent, paths[name] = timed(
                lambda n=name, k=k: make(folder / f"w{k}", source, n, images_per_file=per_file)
            )
            writing.add(name, wall, spent)
    paths["memmap, one file"] = make(folder / "one", source, "memmap", images_per_file=rows)
    others = list(peers.peers(folder, images, labels))
    for name, write, *_ in others:
        wall, spent, _ = timed(lambda w=write: (w(), peers.fsync_tree(folder)))
        writing.add(name, wall, spent)
    writing.show(rows)

    stores = {name: open_store(path) for name, path in paths.items()}
    ram = torch.from_numpy(images.reshape(rows, -1))
    out = torch.empty((BATCH, 3, 64, 64), dtype=torch.uint8)
    shuffled = Table("An exactly shuffled epoch, one thread", "images")
    for seed in range(rounds + 1):
        order = np.random.default_rng(seed).permutation(rows)
        runs: dict[str, Callable[[], Any]] = {
            "limit: torch.index_select from RAM": lambda o=order: [
                torch.index_select(
                    ram, 0, torch.from_numpy(o[at : at + BATCH]), out=out[: len(o[at : at + BATCH])].view(-1, 12288)
                )
                for at in range(0, rows, BATCH)
            ]
        }
        runs |= {name: lambda s=s, o=order: epoch(s, o, out) for name, s in stores.items()}
        runs["h5py fancy indexing"] = lambda o=order: h5py_epoch(paths["hdf5"], o, per_file)
        runs["pyarrow, by row group"] = lambda: parquet_epoch(paths["parquet"])
        runs["parquet, block shuffle, 1 thread"] = lambda s=stores["parquet"]: drain(
            s.loader(BATCH, shuffle="block", threads=1)
        )
        runs |= {name: lambda e=e, o=order: e(o) for name, _, e, _ in others}
        for name, run in runs.items():
            if seed == 0 or name not in {n for n, *_ in others} or seed == 1:  # the first round warms up
                wall, spent, result = timed(run)
                if name in {n for n, *_ in others}:
                    assert result >= 0.99 * int(images.sum(dtype=np.int64)), f"{name} did not read everything"
                if seed:
                    shuffled.add(name, wall, spent)
    shuffled.show(rows)

    raw = folder / "hwc.raw"
    images.transpose(0, 2, 3, 1).tofile(raw)
    workers = Table("An exactly shuffled epoch, two threads or worker processes", "images")
    for seed in range(rounds):
        order = np.random.default_rng(seed).permutation(rows)
        for name in ("memmap, one file", "memmap", "hdf5", "parquet", "ipc", "tar"):
            wall, spent, count = timed(lambda s=stores[name]: drain(s.loader(BATCH, shuffle=True, threads=2)))
            assert count == rows
            workers.add(f"{name}, loader", wall, spent)
        shuffle = peers.Ordered(stores["memmap"], order)
        wall, spent, _ = timed(lambda d=shuffle: drain(peers.loader(d, 2, collate)))
        workers.add("memmap, torch DataLoader, batched", wall, spent)
        per_item = peers.Ordered(peers.PerItem(raw, rows), order)
        wall, spent, _ = timed(lambda d=per_item: sum(map(len, peers.loader(d, 2))))
        workers.add("per-item Pillow reader, torch DataLoader", wall, spent)
    workers.show(rows)


def photos(count: int) -> list[bytes]:
    from tests.store.making import encoded, picture

    rng = np.random.default_rng(0)
    made = []
    for k in range(count):
        height, width = int(rng.integers(330, 480)), int(rng.integers(400, 540))
        noise = rng.integers(-18, 19, (height, width, 3))
        pixels = np.clip(np.asarray(picture(k, height, width)).astype(int) + noise, 0, 255).astype(np.uint8)
        from PIL import Image

        made.append(encoded(Image.fromarray(pixels), quality=90))
    return made


def files(folder: Path, count: int, rounds: int) -> None:
    """JPEGs of many sizes: fetching them, decoding them."""
    import io
    import tarfile

    from PIL import Image

    from imgassets.pixels import decode
    from imgassets.sources.folder import class_folder

    data = photos(count)
    for k, photo in enumerate(data):
        path = folder / "photos" / f"{k % 10}" / f"{k:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo)
    source = class_folder(folder / "photos")
    stores = {name: open_store(make(folder / "v", source, name)) for name in FORMATS}
    peers.tar_of(folder / "plain.tar", data)
    plain = tarfile.open(folder / "plain.tar")  # noqa: SIM115
    members = plain.getmembers()
    fetching = Table("Fetching JPEGs at random, with a checksum of each", "files")
    for seed in range(rounds + 1):
        order = np.random.default_rng(seed).permutation(count).tolist()
        runs = {name: lambda s=s, o=order: [crc32(s.raw(k)) for k in o] for name, s in stores.items()}
        runs["files of a folder"] = lambda o=order: [crc32(source.items[k].path.read_bytes()) for k in o]
        runs["tarfile"] = lambda o=order: [crc32(plain.extractfile(members[k]).read()) for k in o]
        try:
            import datasets

            found = datasets.Dataset.from_dict({"image": data})
            runs["HF datasets ds[i]"] = lambda o=order, f=found: [crc32(f[k]["image"]) for k in o]
        except ImportError:
            pass
        for name, run in runs.items():
            wall, spent, _ = timed(run)
            if seed:
                fetching.add(name, wall, spent)
    fetching.show(count)
    decoding = Table("Decoding JPEGs, one thread", "files")
    for _ in range(rounds):
        some = data[:200]
        wall, spent, _ = timed(lambda d=some: [np.asarray(Image.open(io.BytesIO(x)).convert("RGB")) for x in d])
        decoding.add("Pillow", wall, spent)
        wall, spent, _ = timed(lambda d=some: [decode(x) for x in d])
        decoding.add("imgassets", wall, spent)
    decoding.show(200)


class Resize(torch.utils.data.Dataset):
    """The usual conversion's input: Pillow decodes, converts and resizes."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            return np.array(image.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC))


def conversion(folder: Path, count: int, rounds: int) -> None:
    """A folder of JPEGs into arrays of one size, by two threads; and into a store of the files themselves."""
    import shutil

    from imgassets.sources.folder import class_folder
    from imgassets.sources.resized import Resized

    for k, photo in enumerate(photos(count)):
        path = folder / "photos" / f"{k % 10}" / f"{k:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo)
    source = class_folder(folder / "photos")
    paths = [item.path for item in source.items]
    for size in (224, 64):
        table = Table(f"Folder to {size}x{size} arrays, two processes or threads", "images")
        for k in range(rounds + 1):
            raw = np.memmap(folder / f"{size}.raw", np.uint8, "w+", shape=(count, size, size, 3))

            def usual(raw: Any = raw, size: int = size) -> None:
                at = 0
                for batch in peers.loader(Resize(paths, size), 2, np.stack, batch=50):
                    raw[at : at + len(batch)] = batch
                    at += len(batch)
                raw.flush()

            wall, spent, _ = timed(usual)
            if k:
                table.add("DataLoader, Pillow, memmap", wall, spent)
            wall, spent, path = timed(
                lambda k=k, size=size: make(folder / f"c{size}{k}", Resized(source, (size, size)), "memmap", threads=2)
            )
            if k:
                table.add("imgassets", wall, spent)
        table.show(count)
        error = open_store(path).column("image", range(count)).astype(np.float64) - raw
        print(
            f"\nPSNR to Pillow's bicubic: {10 * np.log10(255**2 / (error**2).mean()):.1f} dB, "
            f"largest difference {abs(error).max():.0f}"
        )
    table = Table("Files kept as they are", "files")
    for k in range(rounds):
        wall, spent, _ = timed(
            lambda k=k: (shutil.copytree(folder / "photos", folder / f"copy{k}"), peers.fsync_tree(folder / f"copy{k}"))
        )
        table.add("copy of the folder, with fsync", wall, spent)
        wall, spent, _ = timed(lambda k=k: shutil.copytree(folder / "photos", folder / f"quick{k}"))
        table.add("copy of the folder, without", wall, spent)
        for name in ("tar", "ipc"):
            wall, spent, _ = timed(lambda k=k, n=name: make(folder / f"k{k}", source, n))
            table.add(name, wall, spent)
    table.show(count)


def memory(folder: Path) -> None:
    """Peak memory while a store is written, for two numbers of images."""
    print("\n## Peak memory of writing, beyond that of the imports\n\n| images | MB |\n|---|---|")
    for rows in (5000, 40000):
        script = (
            "import resource, sys, numpy as np; from pathlib import Path; from tests.store.making import make;"
            "from imgassets.sources.arrays import ArraySource; import pyarrow, torch;"
            "rows, where = int(sys.argv[1]), Path(sys.argv[2]); (where / 'in').mkdir(parents=True);"
            "x = np.lib.format.open_memmap(where / 'in/images.npy', 'w+', np.uint8, (rows, 3, 64, 64));"
            "x.flush(); del x;"
            "np.save(where / 'in/labels.npy', np.arange(rows));"
            "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
            "make(where, ArraySource.open([where / 'in']), 'memmap', images_per_file=2000);"
            "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(rows), str(folder / f"m{rows}")],
            check=True, capture_output=True, text=True, env=dict(os.environ),
        )  # fmt: skip
        print(f"| {rows:,} | {done.stdout.strip()} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="fixed,files,convert,memory")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    for name, run in (
        ("fixed", lambda f: fixed(f, arguments.rows, arguments.rounds)),
        ("files", lambda f: files(f, arguments.files, arguments.rounds)),
        ("convert", lambda f: conversion(f, arguments.files, arguments.rounds)),
        ("memory", memory),
    ):
        if name in wanted:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                run(Path(folder))


if __name__ == "__main__":
    main()

"""Stores of images of one size beside the limits of the machine and beside other formats, in one run.

    PYTHONPATH=. python tests/bench/bench_stores.py [--rows 20000] [--rounds 5] [--only write,shuffle,loader,memory]

64x64x3 images in four shards, batches of 256, everything in the page cache. Peers that are installed take part:
`pip install 'imgassets[bench]'`, and two that would bring along what the project cannot have beside it:

    pip install --no-deps mosaicml-streaming==0.13.0; pip install boto3 brotli catalogue cramjam python-snappy 'zstd<2'
    apt-get install libopencv-dev libturbojpeg0-dev pkg-config; pip install setuptools wheel
    pip install --no-deps --no-build-isolation ffcv==1.0.2 fastargs terminaltables pytorch_pfn_extras assertpy
    pip install opencv-python-headless numba

The round that warms up also sums every epoch's pixels, so that nothing is compared with a reader that reads less.
What holds memory, workers or compiled code keeps them from epoch to epoch, ours and theirs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253  (only benchmarks load this)

from imgassets.sources.arrays import ArraySource
from imgassets.stores import Store, open_store
from imgassets.stores.items import collate
from imgassets.stores.registry import BUNDLED
from imgassets.testing.making import make
from tests.bench.measuring import Table
from tests.bench.store_peers import BATCH, Peer, PerItem, cuts, peers, torch_loader

WHOLE = "memmap, one file"


class Bench:
    """The images, and every store of them."""

    def __init__(self, folder: Path, rows: int, rounds: int) -> None:
        self.folder, self.rows, self.rounds = folder, rows, rounds
        self.images = np.random.default_rng(0).integers(0, 256, (rows, 3, 64, 64), np.uint8)
        self.labels = np.arange(rows) % 1000
        self.sum = int(self.images.sum(dtype=np.int64))
        self.source = ArraySource([(self.images, self.labels)])
        self._paths: dict[str, Path] = {}
        self.peers: list[Peer] = list(peers(folder / "peers", self.images, self.labels))

    def path(self, name: str) -> Path:
        """The store of a format, written when it is first asked for."""
        if name not in self._paths:
            per_file = self.rows if name == WHOLE else max(1, self.rows // 4)
            self._paths[name] = make(self.folder / name, self.source, name.split(",")[0], images_per_file=per_file)
        return self._paths[name]

    def stores(self) -> dict[str, Store]:
        """Every format, open."""
        return {name: open_store(self.path(name)) for name in (*BUNDLED, WHOLE)}

    def write_peers(self) -> None:
        """What the peers read."""
        shutil.rmtree(self.folder / "peers", ignore_errors=True)
        for peer in self.peers:
            peer.write()

    def order(self, seed: int) -> np.ndarray:
        """An epoch's order."""
        return np.random.default_rng(seed).permutation(self.rows)

    def check(self, name: str, batches: Iterable[Any]) -> None:
        """That an epoch has all pixels."""
        seen = sum(int(np.asarray(batch).sum(dtype=np.int64)) for batch in batches)
        # a shuffle of its own over workers may drop a batch
        assert seen == self.sum or ("own" in name and seen > 0.98 * self.sum), f"{name} did not read everything"


def drain(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass


def write(bench: Bench) -> None:
    """Writing, each with its bytes on disk at the end; the last one's pages are free again when the next begins."""
    table = Table("Writing, with fsync", "images", "memmap")
    scratch = bench.folder / "writing"

    def plain() -> None:
        scratch.mkdir()
        with open(scratch / "raw", "wb", buffering=0) as file:
            for part in np.array_split(bench.images, max(1, bench.rows // 80)):
                file.write(part.data)

    runs: dict[str, Callable[[], Any]] = {"limit: write() of the pixels": plain}
    for name in BUNDLED:
        runs[name] = lambda n=name: make(scratch, bench.source, n, images_per_file=max(1, bench.rows // 4))
    runs |= {peer.name: peer.write for peer in bench.peers}

    def clear() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(bench.folder / "peers", ignore_errors=True)
        os.sync()

    table.run(bench.rounds, {name: lambda r=run: (r(), fsync_tree(bench.folder)) for name, run in runs.items()}, clear)
    table.show(bench.rows)


def shuffle(bench: Bench) -> None:
    """An exactly shuffled epoch by one thread; whoever can takes the same memory for every batch."""
    stores = bench.stores()
    bench.write_peers()
    huge = torch.from_numpy(bench.images.reshape(bench.rows, -1))  # numpy asks for large pages
    ram = torch.empty_like(huge).copy_(huge)
    out = torch.empty((BATCH, 3, 64, 64), dtype=torch.uint8)

    def select(pixels: torch.Tensor, order: np.ndarray) -> Iterator[torch.Tensor]:
        for rows in cuts(order):
            place = out.view(BATCH, -1)[: len(rows)]
            yield torch.index_select(pixels, 0, torch.from_numpy(rows), out=place)

    def batches(store: Store, order: np.ndarray) -> Iterator[torch.Tensor]:
        return (store.batch(rows, out=out)[0] for rows in cuts(order))

    block = stores["parquet"].loader(BATCH, shuffle="block", threads=1)
    runs: dict[str, Callable[[np.ndarray], Iterable[Any]]] = {
        "torch.index_select from a tensor in RAM": lambda order: select(ram, order),
        "the same in pages of 2 MB": lambda order: select(huge, order),
    }
    runs |= {name: lambda order, s=store: batches(s, order) for name, store in stores.items()}
    runs["h5py fancy indexing, contiguous dataset"] = lambda order: h5py_epoch(bench.path("hdf5"), order)
    runs["h5py fancy indexing, one image a chunk"] = lambda order: h5py_epoch(chunked(bench), order)
    runs["pyarrow, by row group"] = lambda order: parquet_epoch(bench.path("parquet"))
    runs["parquet, loader, block shuffle, 1 thread"] = lambda order: (images for images, _ in block)
    runs |= {peer.name: peer.epoch for peer in bench.peers if peer.epoch}
    table = Table("An exactly shuffled epoch, one thread", "images", "torch.index_select from a tensor in RAM")
    for name, run in runs.items():
        bench.check(name, run(bench.order(0)))
    table.run(bench.rounds, {name: lambda r=run: drain(r(bench.order(1))) for name, run in runs.items()})
    table.show(bench.rows)


def loader(bench: Bench) -> None:
    """A shuffled epoch by two threads or two worker processes."""
    stores = bench.stores()
    bench.write_peers()
    raw = bench.folder / "hwc.raw"
    bench.images.transpose(0, 2, 3, 1).tofile(raw)
    runs: dict[str, Iterable[Any]] = {}
    for name, store in stores.items():
        runs[f"{name}, loader"] = Images(store.loader(BATCH, shuffle=True, threads=2))
    runs["memmap, torch DataLoader, batched"] = Images(torch_loader(stores["memmap"], collate))
    runs["memmap, torch DataLoader, default collate"] = Images(torch_loader(stores["memmap"]))
    runs["per-item Pillow reader, torch DataLoader"] = torch_loader(PerItem(raw, bench.rows))
    runs |= {peer.name: peer.loader() for peer in bench.peers if peer.loader}
    table = Table("An exactly shuffled epoch, two threads or worker processes", "images", "memmap, loader")
    for name, batches in runs.items():
        bench.check(name, batches)
    table.run(bench.rounds, {name: lambda b=batches: drain(b) for name, batches in runs.items()})
    table.show(bench.rows)


class Images:
    """The images alone."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return (images for images, _ in self.batches)


def h5py_epoch(path: Path, order: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of each batch from every file at once, in ascending order, as h5py demands."""
    import h5py

    files = [h5py.File(p)["image"] for p in sorted(path.glob("*.h5"))]
    per_file = len(files[0])
    for batch in cuts(order):
        rows = np.sort(batch)
        parts = np.split(rows, np.searchsorted(rows, per_file * np.arange(1, len(files))))
        found = [data[some - k * per_file] for k, (data, some) in enumerate(zip(files, parts, strict=True))]
        yield np.concatenate(found)


def chunked(bench: Bench) -> Path:
    """The images in one chunk each, as a dataset that can grow or is compressed has them."""
    import h5py

    path = bench.folder / "chunked"
    if not path.exists():
        path.mkdir()
        with h5py.File(path / "all.h5", "w") as file:
            file.create_dataset("image", data=bench.images, chunks=(1, 3, 64, 64))
    return path


def parquet_epoch(path: Path) -> Iterator[np.ndarray]:
    """Row groups in random order, rows shuffled in each."""
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    for name in sorted(path.rglob("*.parquet")):
        file = pq.ParquetFile(name)
        for group in random.permutation(file.num_row_groups):
            table = file.read_row_group(int(group))
            pixels = np.frombuffer(table["image"].combine_chunks().buffers()[1], np.uint8).reshape(len(table), -1)
            yield pixels[random.permutation(len(table))]


def fsync_tree(folder: Path) -> None:
    """Make what a peer wrote durable: none of them does."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


def memory(bench: Bench) -> None:
    """Peak memory while a store is written, for two numbers of images."""
    print("\n## Peak memory of writing, beyond that of the imports\n\n| images | MB |\n|---|---|")
    script = (
        "import resource, sys, numpy as np; from pathlib import Path; from imgassets.testing.making import make;"
        "from imgassets.sources.arrays import ArraySource; import pyarrow, torch;"
        "rows, where = int(sys.argv[1]), Path(sys.argv[2]); (where / 'in').mkdir(parents=True);"
        "x = np.lib.format.open_memmap(where / 'in/images.npy', 'w+', np.uint8, (rows, 3, 64, 64));"
        "x.flush(); del x;"
        "np.save(where / 'in/labels.npy', np.arange(rows));"
        "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "make(where, ArraySource.open([where / 'in']), 'memmap', images_per_file=2000);"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)"
    )
    for rows in (5000, 40000):
        done = subprocess.run(
            [sys.executable, "-c", script, str(rows), str(bench.folder / f"m{rows}")],
            check=True, capture_output=True, text=True, env=dict(os.environ),
        )  # fmt: skip
        print(f"| {rows:,} | {done.stdout.strip()} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="write,shuffle,loader,memory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        bench = Bench(Path(temporary), arguments.rows, arguments.rounds)
        for section in (write, shuffle, loader, memory):
            if section.__name__ in arguments.only.split(","):
                section(bench)


if __name__ == "__main__":
    main()

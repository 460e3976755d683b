"""Training from archives as they are: the tar of a release by its index, and TFRecord shards, against stores.

    PYTHONPATH=. python tests/bench/bench_archive.py [tar | records] [--images 1400] [--rounds 5] [--rows 1281167]

Opening has an index of as many rows as the release, which point to the archive's images over and over; the shards have
as many records, of a small JPEG. Everything is in the page cache. Seconds are of a new process, imports left out.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imgassets.augment import RandomResizedCrop
from imgassets.classes import imagenet_classes
from imgassets.commit import Recipe, Stage, Vault, Written
from imgassets.formats import imagenet_records
from imgassets.formats.index import Index, IndexReader, write_index
from imgassets.formats.record_index import FACT
from imgassets.sources.folder import class_folder
from imgassets.sources.ilsvrc import ARCHIVES
from imgassets.sources.ilsvrc_index import Ilsvrc
from imgassets.sources.tar_files import COLUMNS, tar_files
from imgassets.stores import open_store
from imgassets.testing.making import make
from tests.bench.bench_tfrecords import IMAGES, jpeg_of, make_release
from tests.bench.measuring import Table

BATCH, THREADS = 128, 2
OPENING = """
import sys, time
import torch, pyarrow.parquet
from imgassets import open_store
from imgassets.augment import RandomResizedCrop
begin = time.perf_counter()
store = open_store(sys.argv[1], **eval(sys.argv[2]))
opened = time.perf_counter()
item = store[len(store) // 3]
first = time.perf_counter()
batch = next(iter(store.loader(128, shuffle=True, augment=RandomResizedCrop(224))))
print(opened - begin, first - begin, time.perf_counter() - begin)
"""


def opening(title: str, rounds: int, path: Path, **arguments: str) -> None:
    """Print the median seconds from `open_store` to what it is opened for, each round in a new process."""
    command = [sys.executable, "-c", OPENING, str(path), repr(arguments)]
    found = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(rounds)]
    opened, item, batch = (statistics.median(map(float, some)) for some in zip(*found, strict=True))
    print(f"\n## {title}\n\n| until | s |\n|---|---|")
    print(f"| open | {opened:.2f} |\n| first item | {item:.2f} |\n| first shuffled batch | {batch:.2f} |", flush=True)


def commit(vault: Vault, parts: tuple[str, ...], write: Callable[[Stage], Written]) -> Path:
    """An artifact of one folder."""
    recipe = Recipe("/".join(parts[:-1]), parts[-1], {}, {}, "index/1", "1")
    return vault.commit(vault.location(*parts, folder=True), recipe, write).location.path


def indexed(root: Path, images: int, rows: int) -> tuple[Path, Path]:
    """An archive's index, and one whose rows are the same over and over."""
    make_release(root, images)
    found = Ilsvrc(root, ("train",)).index("train", workers=THREADS)
    many = found.table.take(np.arange(rows) % len(found.table))
    vault = Vault(root / "store", root / "state")
    few = commit(vault, ("few", "train"), lambda stage: write_index(Index(found.table, found.report), stage))
    return few, commit(vault, ("many", "train"), lambda stage: write_index(Index(many, found.report), stage))


def tar_tables(root: Path, images: int, rounds: int, rows: int) -> None:
    """The tar against the tar store of the same images."""
    few, many = indexed(root, images, rows)
    opening(f"tar_index of {rows:,} rows", rounds, many, raw=str(root))
    source = tar_files(root / ARCHIVES["train"].file, IndexReader(few).table(COLUMNS), imagenet_classes().class_to_idx)
    stores = {"tar store": open_store(make(root, source, "tar")), "the untouched tar": open_store(few, raw=root)}
    assert all(
        stores["tar store"].column("image", [k]) == stores["the untouched tar"].column("image", [k])
        for k in range(0, images, 97)
    )
    order = np.random.default_rng(0).permutation(len(stores["tar store"]))
    for title, work in {
        "files, at random": lambda store: [store.column("image", order[k : k + 64]) for k in range(0, len(order), 64)],
        "crops of 224, shuffled": lambda store: drained(
            store.loader(BATCH, shuffle=True, threads=THREADS, augment=RandomResizedCrop(224))
        ),
    }.items():
        table = Table(f"{title}: {images:,} JPEGs of 469 × 387", "images", "tar store")
        table.run(rounds, {name: lambda s=store, w=work: w(s) for name, store in stores.items()})
        table.show(images)


@dataclass(frozen=True)
class Source:
    """What a record is written from."""

    name: str
    encoded: bytes
    label: int = 1
    width: int = 32
    height: int = 32
    ordinary: bool = True
    synset: str = "n01440764"


def sharded(root: Path, name: str, images: Sequence[bytes], count: int, shards: int) -> Path:
    """A folder of shards with the images over and over, each published as the asset does."""
    vault = Vault(root / name, root / "state")
    for k in range(shards):
        stem = f"train-{k:05d}-of-{shards:05d}"
        rows = range(count * k // shards, count * (k + 1) // shards)

        def write(stage: Stage, stem: str = stem, rows: range = rows) -> Written:
            with stage.create(stem) as sink:
                facts = imagenet_records.write(sink, (Source(f"{i}.JPEG", images[i % len(images)]) for i in rows))
            return Written({"rows": facts.records, FACT: facts.index.dump()})

        location = vault.location("tfrecords", stem, folder=False)
        vault.commit(location, Recipe("tfrecords", stem, {}, {}, "tfrecord/1", "1"), write)
    return root / name / "tfrecords"


def record_tables(root: Path, images: int, rounds: int, rows: int) -> None:
    """TFRecord shards against an Arrow store of the same images."""
    path = sharded(root, "many", [jpeg_of(1, 32, 32)], rows, 1024)
    opening(f"TFRecords of {rows:,} records", rounds, path)
    for manifest in (path / ".imgassets").iterdir():
        manifest.unlink()
    opening(f"TFRecords of {rows:,} records, by their lengths alone", rounds, path)
    blobs = [jpeg_of(seed, 387, 469) for seed in range(60)]
    folder = root / "raw" / "a"
    folder.mkdir(parents=True)
    for k in range(images):
        (folder / f"{k:05d}.JPEG").write_bytes(blobs[k % 60])
    arrow = open_store(make(root, class_folder(folder.parent), "ipc"))
    stores = {"ipc store": arrow, "TFRecords": open_store(sharded(root, "few", blobs, images, 8))}
    order = np.random.default_rng(0).permutation(images)
    for title, work in {
        "uncopied": lambda store: [store.raw(row) for row in order.tolist()],
        "copied": lambda store: [store.column("image", order[k : k + 64]) for k in range(0, images, 64)],
        "decoded": lambda store: [store[row] for row in order.tolist()],
    }.items():
        table = Table(f"Random rows, {title}: {images:,} JPEGs of 469 × 387", "images", "ipc store")
        table.run(rounds, {name: lambda s=store, w=work: w(s) for name, store in stores.items()})
        table.show(images)


def drained(batches: Iterator[Any]) -> None:
    """An epoch."""
    for _ in batches:
        pass


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["tar", "records"])
    parser.add_argument("--images", type=int, default=1400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=IMAGES)
    options = parser.parse_args()
    tables = {"tar": tar_tables, "records": record_tables}
    for what in options.what:
        with tempfile.TemporaryDirectory() as folder:
            tables[what](Path(folder), options.images, options.rounds, options.rows)


if __name__ == "__main__":
    main()

"""ILSVRC tars to TFRecord shards, against a copy of the same bytes and the TensorFlow way.

    PYTHONPATH=. python tests/bench/bench_tfrecords.py [images]

All figures are the best of three in one run, taken in turns; compare ratios. CPU seconds are user + system of all
processes involved, imports and TensorFlow's start not counted. Ours waits for the disk, TensorFlow's way does not.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from imgassets.classes import imagenet_classes
from imgassets.commit import Recipe, Stage, Store
from imgassets.formats import jpeg
from imgassets.formats.index import Index, IndexReader, write_index
from imgassets.io.tfrecords import write_shard
from imgassets.sources import sharding
from imgassets.sources.ilsvrc import ARCHIVES
from imgassets.sources.ilsvrc_index import Ilsvrc
from imgassets.sources.tar_index import SHARD_COLUMNS, TarImages
from tests.pictures import picture
from tests.tars import tar
from tests.tensorflow_python import MISSING, tensorflow_python

SHARDS = 4
Seconds = tuple[float, float]
"""CPU and wall."""


def make_release(folder: Path, images: int) -> None:
    """A training archive of 469 x 387 JPEGs of about 110 kB, the means of ILSVRC2012; 60 of them differ."""
    rng = np.random.default_rng(0)
    blobs = []
    for seed in range(60):
        pixels = picture(seed, 387, 469) + rng.normal(0, 18, (387, 469, 3))
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        blobs.append(buffer.getvalue())
    synsets = imagenet_classes().synsets[:10]
    each = images // len(synsets)
    inner = (
        (f"{synset}.tar", tar((f"{synset}_{i}.JPEG", blobs[(k + i) % 60]) for i in range(each)))
        for k, synset in enumerate(synsets)
    )
    (folder / ARCHIVES["train"].file).write_bytes(tar(inner))


def warm_up(work: Path) -> None:
    """Do everything once at a small size: imports are no part of the comparison, TensorFlow's least of all."""
    small = work / "small"
    small.mkdir()
    make_release(small, 40)
    store = Store(small / "store", small / "state")
    index(small, store, 2)
    shards(small, store, "warm", [0])


def seconds(work: Callable[[], object]) -> Seconds:
    """CPU and wall seconds of this process and the children it waits for."""
    os.sync()
    before, start = _cpu(), time.perf_counter()
    work()
    return _cpu() - before, time.perf_counter() - start


def _cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def index(folder: Path, store: Store, workers: int) -> None:
    """The index asset's work: one pass, every image decoded, Parquet written and published."""

    def write(stage: Stage):  # type: ignore[no-untyped-def]
        found = Ilsvrc(folder, ("train",)).index("train", jpeg.inspect, workers=workers)
        return write_index(Index(found.table, found.report), stage)

    store.commit(store.location("tar_index", folder=True), Recipe("index", "train", {}, {}, "1", "1"), write)


def shards(folder: Path, store: Store, target: str, numbers: list[int]) -> None:
    """The shards asset's work for some shards: each written and published."""
    table = IndexReader(store.root / "tar_index").table(SHARD_COLUMNS)
    order = sharding.shuffled(len(table), 0)
    for number in numbers:
        place = sharding.chunk(len(table), SHARDS, number)
        images = TarImages(folder / ARCHIVES["train"].file, table.take(order[place.start : place.stop]))
        name = sharding.stem("train", number, SHARDS)
        recipe = Recipe("tfrecords", name, {}, {}, "1", "1")
        store.commit(store.location(target, name, folder=False), recipe, lambda stage, i=images: write_shard(i, stage))


def in_processes(folder: Path, store: Store, target: str) -> None:
    """All shards by two processes, as two runs of a backfill make them."""
    spawn = get_context("fork")
    parts = [list(range(SHARDS))[start::2] for start in range(2)]
    processes = [spawn.Process(target=shards, args=(folder, store, target, part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def copy(source: Path, target: Path, *, sync: bool) -> None:
    """`cp`, with or without waiting for the disk."""
    shutil.copyfile(source, target)
    if sync:
        fd = os.open(target, os.O_RDWR)
        os.fsync(fd)
        os.close(fd)


def untar(folder: Path, tree: Path) -> None:
    """As the guides do it: the outer tar, then each inner one into a folder of its own."""
    tree.mkdir()
    subprocess.run(["tar", "-xf", str(folder / ARCHIVES["train"].file), "-C", str(tree)], check=True)
    for inner in sorted(tree.glob("*.tar")):
        (tree / inner.stem).mkdir()
        subprocess.run(["tar", "-xf", str(inner), "-C", str(tree / inner.stem)], check=True)
        inner.unlink()


def convert(python: Path, tree: Path, target: Path) -> Seconds:
    """TensorFlow's conversion, timed by itself."""
    target.mkdir()
    script = Path(__file__).with_name("tfrecord_reference.py")
    command = [str(python), str(script), str(tree), str(target), str(SHARDS)]
    cpu, wall = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    return cpu, wall


def one_round(release: Path, work: Path, python: Path | None) -> dict[str, Seconds]:
    """Everything once, in a folder of its own."""
    work.mkdir()
    archive = release / ARCHIVES["train"].file
    store, threaded = (Store(work / name, work / f"{name}-state") for name in ("store", "threaded"))
    rows = {
        "cp": seconds(lambda: copy(archive, work / "copy1", sync=False)),
        "cp + fsync": seconds(lambda: copy(archive, work / "copy2", sync=True)),
        "index, 1 thread": seconds(lambda: index(release, store, 1)),
        "index, 2 threads": seconds(lambda: index(release, threaded, 2)),
        "shards, 1 process": seconds(lambda: shards(release, store, "one", list(range(SHARDS)))),
        "shards, 2 processes": seconds(lambda: in_processes(release, store, "two")),
    }
    if python is not None:
        rows["TensorFlow: untar"] = seconds(lambda: untar(release, work / "tree"))
        rows["TensorFlow: convert"] = convert(python, work / "tree", work / "reference")
    shutil.rmtree(work)
    return rows


def main() -> None:
    """Print the table."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    python = tensorflow_python()
    with tempfile.TemporaryDirectory(prefix="bench-tfrecords-") as text:
        work = Path(text)
        make_release(work, images)
        warm_up(work)
        rounds = [one_round(work, work / f"round{i}", python) for i in range(3)]
        best = {name: (min(one[name][0] for one in rounds), min(one[name][1] for one in rounds)) for name in rounds[0]}
        report(best, (work / ARCHIVES["train"].file).stat().st_size, images)


def report(rows: dict[str, Seconds], nbytes: int, images: int) -> None:
    """Seconds and the ratios that are promised."""
    print(f"{images} images, {nbytes / 1e6:.0f} MB, {SHARDS} shards, {os.cpu_count()} CPUs")
    print(f"{'':24}{'CPU s':>8}{'wall s':>8}{'MB/s':>8}")
    for name, (cpu, wall) in rows.items():
        print(f"{name:24}{cpu:8.2f}{wall:8.2f}{nbytes / 1e6 / wall:8.0f}")
    one, two, cp = rows["shards, 1 process"], rows["shards, 2 processes"], rows["cp"]
    synced = one[1] / rows["cp + fsync"][1]
    ratios = {
        "shards / cp, CPU": one[0] / cp[0],
        "shards / cp + fsync, wall": synced,
        "1 process / 2, wall": one[1] / two[1],
    }
    if "TensorFlow: convert" in rows:
        convert, untar = rows["TensorFlow: convert"][0], rows["TensorFlow: untar"][0]
        ours = rows["index, 1 thread"][0] + one[0]
        ratios["TensorFlow's conversion / shards, CPU"] = convert / one[0]
        ratios["untar and conversion / index and shards, CPU"] = (untar + convert) / ours
        ratios["conversion alone / index and shards, CPU"] = convert / ours
    print()
    for name, ratio in ratios.items():
        print(f"{name:48}{ratio:6.2f}")
    if "TensorFlow: convert" not in rows:
        print(MISSING)


if __name__ == "__main__":
    main()

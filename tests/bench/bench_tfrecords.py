"""ILSVRC tars to TFRecord shards, against a copy of the same bytes and the TensorFlow way.

    PYTHONPATH=. python tests/bench/bench_tfrecords.py [conversion] [processes] [memory] [--images N]

All figures are the best of three in one run, taken in turns; compare ratios. CPU seconds are user + system of all
processes involved; imports, compilation and TensorFlow's start are not counted. Ours waits for the disk, TensorFlow's
way and `cp` do not. `processes` shows what two processes gain over one: on the disk, beside a bare copy of the same
bytes with fsync, and in memory, where only our own work is left.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.commit import Recipe, Stage, Vault
from imgassets.formats.index import Index, IndexReader, write_index
from imgassets.io.tfrecords import write_shard
from imgassets.sources import sharding
from imgassets.sources.ilsvrc import ARCHIVES
from imgassets.sources.ilsvrc_index import Ilsvrc
from imgassets.sources.tar_index import SHARD_COLUMNS, TarImages
from tests.pictures import encode, picture
from tests.tars import tar
from tests.tensorflow_python import MISSING, tensorflow_python

SHARDS = 8
"""At the default number of images each has as many as those of the release."""
IMAGES = 1_281_167
"""Training images of ILSVRC2012."""
ALL = list(range(SHARDS))
MEMORY = Path("/dev/shm")  # noqa: S108 (a file system in memory)
Seconds = tuple[float, float]
"""CPU and wall."""


def make_release(folder: Path, images: int) -> None:
    """A training archive of 469 x 387 JPEGs of about 110 kB, the means of ILSVRC2012; 60 of them differ."""
    blobs = [jpeg_of(seed, 387, 469) for seed in range(60)]
    synsets = imagenet_classes().synsets[:10]
    each = images // len(synsets)
    inner = (
        (f"{synset}.tar", tar((f"{synset}_{i}.JPEG", blobs[(k + i) % 60]) for i in range(each)))
        for k, synset in enumerate(synsets)
    )
    (folder / ARCHIVES["train"].file).write_bytes(tar(inner))


def jpeg_of(seed: int, height: int, width: int) -> bytes:
    """A picture with the noise of a camera, quality 90."""
    noise = np.random.default_rng(seed).normal(0, 18, (height, width, 3))
    return encode((picture(seed, height, width) + noise).clip(0, 255).astype(np.uint8), quality=90)


def warm_up(work: Path) -> None:
    """Do everything once at a small size: imports are no part of the comparison, TensorFlow's least of all."""
    small = work / "small"
    small.mkdir()
    make_release(small, 40)
    vault = of(small, "store")
    index(small, vault, 2)
    shards(small, vault, "warm", [0])


def seconds(work: Callable[[], object]) -> Seconds:
    """CPU and wall seconds of this process and the children it waits for."""
    os.sync()
    before, start = _cpu(), time.perf_counter()
    work()
    return _cpu() - before, time.perf_counter() - start


def _cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def index(folder: Path, vault: Vault, workers: int) -> None:
    """The index asset's work: one pass, every image decoded, Parquet written and published."""

    def write(stage: Stage):  # type: ignore[no-untyped-def]
        found = Ilsvrc(folder, ("train",)).index("train", workers=workers)
        return write_index(Index(found.table, found.report), stage)

    vault.commit(vault.location("tar_index", folder=True), Recipe("index", "train", {}, {}, "1", "1"), write)


def shards(folder: Path, vault: Vault, target: str, numbers: list[int]) -> None:
    """The shards asset's work for some shards: each written and published."""
    table = IndexReader(vault.root / "tar_index").table(SHARD_COLUMNS)
    order = sharding.shuffled(len(table), 0)
    for number in numbers:
        place = sharding.chunk(len(table), SHARDS, number)
        images = TarImages(folder / ARCHIVES["train"].file, table.take(order[place.start : place.stop]))
        name = sharding.stem("train", number, SHARDS)
        recipe = Recipe("tfrecords", name, {}, {}, "1", "1")
        vault.commit(vault.location(target, name, folder=False), recipe, lambda stage, i=images: write_shard(i, stage))


def in_two(work: Callable[[list[int]], object]) -> None:
    """Every other shard by each of two processes, as two runs of a backfill make them."""
    fork = get_context("fork")
    processes = [fork.Process(target=work, args=(list(range(SHARDS))[start::2],)) for start in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def copy(source: Path, target: Path) -> None:
    """`cp`, which does not wait for the disk."""
    shutil.copyfile(source, target)


def synced_parts(source: Path, folder: Path, numbers: list[int]) -> None:
    """The least that writing shards can be: parts of a file copied inside the kernel, each synced."""
    size = source.stat().st_size // SHARDS
    for number in numbers:
        with source.open("rb") as read, (folder / f"part{number}").open("wb") as write:
            read.seek(number * size)
            left = size
            while left:
                left -= os.sendfile(write.fileno(), read.fileno(), None, left)
            os.fsync(write.fileno())


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


def convert_once(release: Path, work: Path, python: Path | None) -> dict[str, Seconds]:
    """From archive to shards in one process, beside TensorFlow's way."""
    archive, vault, threaded = release / ARCHIVES["train"].file, of(work, "store"), of(work, "threaded")
    rows = {
        "cp": seconds(lambda: copy(archive, work / "copy")),
        "index, 1 thread": seconds(lambda: index(release, vault, 1)),
        "index, 2 threads": seconds(lambda: index(release, threaded, 2)),
        "shards": seconds(lambda: shards(release, vault, "one", ALL)),
    }
    if python is not None:
        rows["TensorFlow: untar"] = seconds(lambda: untar(release, work / "tree"))
        rows["TensorFlow: convert"] = convert(python, work / "tree", work / "reference")
    return rows


def processes_once(release: Path, work: Path) -> dict[str, Seconds]:
    """One process and two, on this disk and where nothing waits for one, and the least that either must do."""
    archive, rows = release / ARCHIVES["train"].file, dict[str, Seconds]()
    for medium, base in {"disk": work, "memory": MEMORY}.items():
        if not base.is_dir():
            continue
        with tempfile.TemporaryDirectory(dir=base) as text:
            place = Path(text)
            vault = of(place, "store")
            index(release, vault, 2)
            for name, task in {
                "copy": lambda numbers, place=place: synced_parts(archive, place, numbers),
                "shards": lambda numbers, vault=vault: shards(release, vault, "made", numbers),
            }.items():
                # in turns and twice: whoever comes first finds the machine's memory untouched, and pays for it
                for count in ("1 process", "2 processes") * 2:
                    for made in [*place.glob("part*"), *place.glob("store/made")]:
                        shutil.rmtree(made) if made.is_dir() else made.unlink()
                    alone = count == "1 process"
                    took = seconds(lambda alone=alone, task=task: task(ALL) if alone else in_two(task))
                    key = f"{medium}: {name}, {count}"
                    rows[key] = min(took, rows.get(key, took), key=lambda pair: pair[1])
    return rows


def make_tiny_release(folder: Path) -> None:
    """As many training images as ILSVRC2012 has, under a kilobyte each: an index is as large as that of the release."""
    blobs = [jpeg_of(seed, 16, 16) for seed in range(60)]
    with tarfile.open(folder / ARCHIVES["train"].file, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, synset in enumerate(imagenet_classes().synsets):
            images = 1281 + (number < IMAGES - 1281 * 1000)
            inner = tar((f"{synset}_{i}.JPEG", blobs[i % 60]) for i in range(images))
            entry = tarfile.TarInfo(f"{synset}.tar")
            entry.size = len(inner)
            archive.addfile(entry, io.BytesIO(inner))


def beyond(work: Callable[[], object]) -> int:
    """KB by which the memory of this process grows at its peak."""
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    work()
    return kilobytes("VmHWM") - before


def kilobytes(name: str) -> int:
    """A field of /proc/self/status."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[name].split()[0])


def of(folder: Path, name: str) -> Vault:
    """An empty vault."""
    return Vault(folder / name, folder / f"{name}-state")


def memory(folder: Path, _: int) -> None:
    """Peak memory of the index of a whole release, and of a shard made from it, each in a process of its own."""
    make_tiny_release(folder)
    warm_up(folder)
    vault = of(folder, "store")
    print(f"\n{IMAGES} images, MB beyond imports and compiled code")
    for name, work in {
        "index, 2 threads": lambda: index(folder, vault, 2),
        "shard": lambda: shards(folder, vault, "one", [0]),
    }.items():
        ours, theirs = get_context("fork").Pipe(duplex=False)
        child = get_context("fork").Process(target=lambda work=work, pipe=theirs: pipe.send(beyond(work)))
        child.start()
        print(f"{name:32}{ours.recv() / 1e3:8.0f}", flush=True)
        child.join()


def conversion(folder: Path, images: int) -> None:
    """From archive to shards in one process, beside TensorFlow's way."""
    python = tensorflow_python()
    timed(folder, images, lambda work: convert_once(folder, work, python))
    if python is None:
        print(MISSING)


def processes(folder: Path, images: int) -> None:
    """One process and two."""
    timed(folder, images, lambda work: processes_once(folder, work))


def timed(release: Path, images: int, once: Callable[[Path], dict[str, Seconds]]) -> None:
    """Three rounds, and the table of the best."""
    make_release(release, images)
    warm_up(release)
    rounds = []
    for number in range(3):
        work = release / f"round{number}"
        work.mkdir()
        rounds.append(once(work))
        shutil.rmtree(work)
    best = {name: (min(one[name][0] for one in rounds), min(one[name][1] for one in rounds)) for name in rounds[0]}
    nbytes = (release / ARCHIVES["train"].file).stat().st_size
    print(f"\n{images} images, {nbytes / 1e6:.0f} MB, {SHARDS} shards, {os.cpu_count()} CPUs, best of 3")
    print(f"{'':32}{'CPU s':>8}{'wall s':>8}{'MB/s':>8}")
    for name, (cpu, wall) in best.items():
        print(f"{name:32}{cpu:8.2f}{wall:8.2f}{nbytes / 1e6 / wall:8.0f}")
    print()
    for name, ratio in ratios(best).items():
        print(f"{name:56}{ratio:6.2f}")


PARTS = {"conversion": conversion, "processes": processes, "memory": memory}


def ratios(rows: dict[str, Seconds]) -> dict[str, float]:
    """What is promised, as far as it was measured."""
    found: dict[str, float] = {}
    if "shards" in rows:
        made, indexed = rows["shards"][0], rows["index, 1 thread"][0]
        found["shards / cp, CPU"] = made / rows["cp"][0]
        found["index, 1 thread / 2 threads, wall"] = rows["index, 1 thread"][1] / rows["index, 2 threads"][1]
        if "TensorFlow: convert" in rows:
            converted, untarred = rows["TensorFlow: convert"][0], rows["TensorFlow: untar"][0]
            found["TensorFlow's conversion / shards, CPU"] = converted / made
            found["untar and conversion / index and shards, CPU"] = (untarred + converted) / (indexed + made)
            found["conversion alone / index and shards, CPU"] = converted / (indexed + made)
    for name, (_, wall) in rows.items():
        if name.endswith("1 process"):
            found[f"{name} / 2, wall"] = wall / rows[name.replace("1 process", "2 processes")][1]
            if "shards" in name:
                found[f"{name} / copy, wall"] = wall / rows[name.replace("shards", "copy")][1]
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["all", *PARTS], default="all", metavar="part")
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    for part in PARTS if "all" in arguments.parts else arguments.parts:
        with tempfile.TemporaryDirectory(prefix="bench-tfrecords-") as text:
            PARTS[part](Path(text), arguments.images)


if __name__ == "__main__":
    main()

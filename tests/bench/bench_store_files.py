"""Stores of image files, and conversion of a folder, beside other ways, in one run.

    PYTHONPATH=. python tests/bench/bench_store_files.py [--files 4500] [--rounds 3] [--only fetch,convert,keep]

JPEGs of about 430x470 pixels, everything in the page cache. Peers as in `bench_stores`.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253  (only benchmarks load this)
from isal.isal_zlib import crc32
from PIL import Image

from imgassets.classes import imagenet_classes
from imgassets.images.pixels import decode
from imgassets.sources.files import ImageFiles
from imgassets.sources.folder import class_folder
from imgassets.sources.ilsvrc_index import Ilsvrc
from imgassets.sources.resized import Resized
from imgassets.stores import open_store
from imgassets.stores.registry import BUNDLED
from imgassets.testing.making import encoded, make, picture
from tests.bench.bench_stores import fsync_tree
from tests.bench.measuring import Table, timed
from tests.bench.store_peers import _stubs

DIFFERENT = 100
"""Photos that are drawn; the files repeat them."""


def photos(folder: Path, count: int) -> ImageFiles:
    """A class folder of JPEGs with some noise, as cameras have it."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(min(count, DIFFERENT)):
        height, width = int(rng.integers(330, 480)), int(rng.integers(400, 540))
        noise = rng.integers(-18, 19, (height, width, 3))
        pixels = np.clip(np.asarray(picture(k, height, width)).astype(int) + noise, 0, 255).astype(np.uint8)
        made.append(encoded(Image.fromarray(pixels), quality=90))
    for k in range(count):
        path = folder / f"{k % 10}" / f"{k:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[k % len(made)])
    return class_folder(folder)


def fetch(folder: Path, count: int, rounds: int) -> None:
    """Fetching files at random, and decoding them."""
    source = photos(folder / "photos", count)
    paths = [item.path for item in source.items]
    data = [path.read_bytes() for path in paths]
    order = np.random.default_rng(0).permutation(count).tolist()
    runs: dict[str, Callable[[], Any]] = {}
    for name in BUNDLED:
        store = open_store(make(folder / "v", source, name))
        runs[name] = lambda s=store: [crc32(s.raw(k)) for k in order]
    runs["files of a folder"] = lambda: [crc32(paths[k].read_bytes()) for k in order]
    with tarfile.open(folder / "plain.tar", "w") as out:
        for k, photo in enumerate(data):
            info = tarfile.TarInfo(f"{k:06d}.jpg")
            info.size = len(photo)
            out.addfile(info, io.BytesIO(photo))
    plain = tarfile.open(folder / "plain.tar")  # noqa: SIM115
    members = plain.getmembers()
    runs["tarfile"] = lambda: [crc32(plain.extractfile(members[k]).read()) for k in order]
    if peer := _hugging_face(folder, data):
        runs["HF datasets ds[i]"] = lambda: [crc32(peer[k]["image"]) for k in order]
    if mds := _mosaic(folder / "mds", data):
        runs["MosaicML streaming ds[i]"] = lambda: [crc32(mds[k]["image"]) for k in order]
    wanted = [crc32(data[k]) for k in order]
    assert all(function() == wanted for function in runs.values()), "not all bytes are the same"
    table = Table("Fetching JPEGs at random, with a checksum of each", "files", "tar")
    table.run(rounds, runs)
    table.show(count)
    some = data[:200]
    table = Table("Decoding JPEGs, one thread", "files", "Pillow")
    table.run(
        rounds,
        {
            "Pillow": lambda: [np.asarray(Image.open(io.BytesIO(x)).convert("RGB")) for x in some],
            "imgassets": lambda: [decode(x) for x in some],
        },
    )
    table.show(len(some))


def _hugging_face(folder: Path, data: list[bytes]) -> Any:
    try:
        import datasets
    except ImportError as error:
        print(f"  (datasets is not installed: {error})")
        return None
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"image": data}).save_to_disk(str(folder / "hf"))
    return datasets.load_from_disk(str(folder / "hf"))


def _mosaic(folder: Path, data: list[bytes]) -> Any:
    _stubs()
    try:
        from streaming import MDSWriter, StreamingDataset
    except ImportError as error:
        print(f"  (streaming is not installed: {error})")
        return None
    with MDSWriter(out=str(folder), columns={"image": "bytes"}, size_limit=1 << 26) as out:
        for photo in data:
            out.write({"image": photo})
    return StreamingDataset(local=str(folder), shuffle=False, batch_size=1)


class Resize(torch.utils.data.Dataset):
    """The usual conversion's input: Pillow decodes, converts and resizes."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        with Image.open(self.paths[index]) as image:
            return np.array(image.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC))


def convert(folder: Path, count: int, rounds: int) -> None:
    """A folder of JPEGs into arrays of one size, by two threads or processes."""
    source = photos(folder / "photos", count)
    paths = [item.path for item in source.items]
    for size in (224, 64):
        raw = np.memmap(folder / f"{size}.raw", np.uint8, "w+", shape=(count, size, size, 3))

        def usual(raw: Any = raw, size: int = size) -> None:
            batches = torch.utils.data.DataLoader(Resize(paths, size), 50, num_workers=2, collate_fn=np.stack)
            at = 0
            for batch in batches:
                raw[at : at + len(batch)] = batch
                at += len(batch)
            raw.flush()

        def ours(size: int = size) -> Path:
            shutil.rmtree(folder / "made", ignore_errors=True)
            return make(folder / "made", Resized(source, (size, size)), "memmap", threads=2)

        runs: dict[str, Callable[[], Any]] = {"DataLoader, Pillow, memmap": usual, "imgassets, with fsync": ours}
        if writer := _ffcv(folder / "all.beton", paths, size):
            runs["FFCV DatasetWriter"] = writer
        for run in runs.values():
            run()
        table = Table(
            f"Folder to {size}x{size} arrays, two processes or threads", "images", "DataLoader, Pillow, memmap"
        )
        table.run(rounds, runs)
        table.show(count)
        error = open_store(ours()).column("image", range(count)).astype(np.float64) - raw
        noise = 10 * np.log10(255**2 / (error**2).mean())
        print(f"\nPSNR to Pillow's bicubic: {noise:.1f} dB, largest difference {abs(error).max():.0f}")


def _ffcv(path: Path, paths: list[Path], size: int) -> Callable[[], None] | None:
    try:
        from ffcv.fields import IntField, RGBImageField
        from ffcv.writer import DatasetWriter
    except ImportError as error:
        print(f"  (ffcv is not installed: {error})")
        return None
    pixels = Resize(paths, size)

    class Rows:
        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, index: int) -> Any:
            return pixels[index], 0

    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    return lambda: DatasetWriter(str(path), fields, num_workers=2).from_indexed_dataset(Rows())


def keep(folder: Path, count: int, rounds: int) -> None:
    """The files judged and kept, beside a copy of the folder, and an index of their tar, which is the judging alone."""
    source = photos(folder / "photos", count)
    release = folder / "release"
    _pack(release, [item.path for item in source.items])
    table = Table("Files kept as they are", "files", "copy of the folder, with fsync")

    def copy(durable: bool) -> None:
        shutil.copytree(folder / "photos", folder / "made")
        if durable:
            fsync_tree(folder / "made")

    runs: dict[str, Callable[[], Any]] = {
        "copy of the folder, with fsync": lambda: copy(True),
        "copy of the folder, without": lambda: copy(False),
    }
    for name in ("tar", "ipc", "memmap"):
        runs[name] = lambda n=name: make(folder / "made", source, n, threads=2)
    runs["index of a tar of them"] = lambda: Ilsvrc(release, ("train",)).index("train", workers=2)
    for k in range(rounds + 1):
        for name, run in runs.items():
            os.sync()
            wall, spent, _ = timed(run)
            shutil.rmtree(folder / "made", ignore_errors=True)
            if k:
                table.rows.setdefault(name, []).append((wall, spent))
    table.show(count)


def _pack(release: Path, paths: list[Path]) -> None:
    """An archive in the layout of ILSVRC2012's training images."""
    release.mkdir()
    synset = imagenet_classes().synsets[0]
    with tarfile.open(release / "ILSVRC2012_img_train.tar", "w") as out:
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w") as images:
            for k, path in enumerate(paths):
                info = tarfile.TarInfo(f"{synset}_{k}.JPEG")
                info.size = path.stat().st_size
                images.addfile(info, io.BytesIO(path.read_bytes()))
        info = tarfile.TarInfo(f"{synset}.tar")
        info.size = len(inner.getvalue())
        out.addfile(info, io.BytesIO(inner.getvalue()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="fetch,convert,keep")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for section in (fetch, convert, keep):
        if section.__name__ in arguments.only.split(","):
            with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
                section(Path(folder), arguments.files, arguments.rounds)


if __name__ == "__main__":
    main()

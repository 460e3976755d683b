"""Stored JPEGs to a batch of crops: RandomResizedCrop(224) and a flip, by two threads or worker processes, in one run.

    PYTHONPATH=. python tests/bench/bench_augment.py [--images 1400] [--size 224] [--rounds 5]

With `$IMGASSETS_RAW` the JPEGs of `ilsvrc2012/*.tar` there, over and over, without it generated ones of ImageNet's mean
size. FFCV takes part where it is installed (`bench_stores` says how); its file has the same pixels as JPEGs of quality
90. Everything is in the page cache. The last table says how far the default is from decoding at full size.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import random
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch  # noqa: TID253  (only benchmarks load this)
from PIL import Image
from torch.utils.data import DataLoader, Dataset  # noqa: TID253

from imgassets.augment import RandomResizedCrop
from imgassets.augment.draws import draws
from imgassets.augment.fitting import fit
from imgassets.sources.folder import class_folder
from imgassets.stores import Store, open_store
from imgassets.testing.making import make
from imgassets.threads import ordered
from tests.bench.bench_tfrecords import jpeg_of
from tests.bench.measuring import Table

BATCH, THREADS = 128, 2


def jpegs(raw: str | None) -> Iterator[bytes]:
    """Different JPEGs."""
    archives = sorted(Path(raw).glob("ilsvrc2012/*.tar")) if raw else []
    if not archives:
        yield from (jpeg_of(seed, 387, 469) for seed in range(60))
    for archive in archives:
        with tarfile.open(archive) as outer:
            yield from _members(outer)


def _members(archive: tarfile.TarFile) -> Iterator[bytes]:
    for member in archive:
        opened = archive.extractfile(member)
        data = opened.read() if opened else b""
        if member.name.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(data)) as inner:
                yield from _members(inner)
        elif data[:2] == b"\xff\xd8":
            yield data


def box(width: int, height: int) -> tuple[int, int, int, int]:
    """torchvision's box (left, top, right, bottom), of Python's random numbers."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


class PillowCrop:
    """The usual transform of an item."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> torch.Tensor:
        part = image.convert("RGB").crop(box(*image.size)).resize((self.size, self.size), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(part)).permute(2, 0, 1)


class Files(Dataset[tuple[torch.Tensor, int]]):
    """An image folder as torchvision has it."""

    def __init__(self, paths: list[Path], transform: PillowCrop) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image), 0


def by_hand(store: Store, size: int) -> Callable[[np.ndarray], torch.Tensor]:
    """What a careful user writes: simplejpeg, and torch's resize, a batch a thread."""

    def batch(rows: np.ndarray) -> torch.Tensor:
        out = torch.empty((len(rows), 3, size, size), dtype=torch.uint8, memory_format=torch.channels_last)
        for place, data in zip(out, store.raw_batch(rows), strict=True):
            pixels = torch.from_numpy(simplejpeg.decode_jpeg(data, "RGB", strict=False))
            left, top, right, bottom = box(pixels.shape[1], pixels.shape[0])
            part = pixels[top:bottom, left:right].permute(2, 0, 1)[None]
            done = torch.nn.functional.interpolate(part, size=(size, size), mode="bilinear", antialias=True)[0]
            place.copy_(done.flip(2) if random.random() < 0.5 else done)
        return out

    return batch


def full_decode(store: Store) -> Callable[[np.ndarray], None]:
    """The decoder alone."""

    def batch(rows: np.ndarray) -> None:
        for data in store.raw_batch(rows):
            simplejpeg.decode_jpeg(data, "RGB", strict=False)

    return batch


def threaded(store: Store, batch: Callable[[np.ndarray], Any]) -> Iterator[Any]:
    """A shuffled epoch by threads."""
    order = np.random.default_rng().permutation(len(store))
    cuts = [order[k : k + BATCH] for k in range(0, len(order), BATCH)]
    return ordered(batch, cuts, THREADS, 2 * THREADS, lambda: torch.set_num_threads(1))


def ffcv(folder: Path, store: Store, size: int) -> Any:
    """FFCV's loader of the same pixels; None where it is not installed."""
    try:
        from ffcv.fields import IntField, RGBImageField
        from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
        from ffcv.loader import Loader, OrderOption
        from ffcv.transforms import RandomHorizontalFlip, Squeeze, ToTensor
        from ffcv.writer import DatasetWriter
    except ImportError as error:
        print(f"  (ffcv is not installed: {error})")
        return None
    rows = [
        (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), 0) for data in store.raw_batch(np.arange(len(store)))
    ]
    fields = {"image": RGBImageField(write_mode="jpg", jpeg_quality=90), "label": IntField()}
    DatasetWriter(str(folder / "all.beton"), fields, num_workers=THREADS).from_indexed_dataset(rows)
    crops = [RandomResizedCropRGBImageDecoder((size, size)), RandomHorizontalFlip(), ToTensor()]
    pipelines = {"image": crops, "label": [IntDecoder(), ToTensor(), Squeeze()]}
    settings = {"num_workers": THREADS, "order": OrderOption.RANDOM, "os_cache": True, "drop_last": False}
    return Loader(str(folder / "all.beton"), batch_size=BATCH, pipelines=pipelines, **settings)


def speed(folder: Path, paths: list[Path], size: int, rounds: int) -> None:
    """Every way, in turns."""
    place = make(folder, class_folder(folder / "raw"), "tar")
    store, transformed = open_store(place), open_store(place, PillowCrop(size))
    settings: dict[str, Any] = {"num_workers": THREADS, "shuffle": True, "persistent_workers": True}
    loaders: dict[str, Any] = {
        "loader, transform= of Pillow": transformed.loader(BATCH, shuffle=True, threads=THREADS),
        "loader, augment=": store.loader(BATCH, shuffle=True, threads=THREADS, augment=RandomResizedCrop(size)),
        "loader, augment=, exact": store.loader(
            BATCH, shuffle=True, threads=THREADS, augment=RandomResizedCrop(size, exact=True)
        ),
        "torch DataLoader over files, Pillow": DataLoader(Files(paths, PillowCrop(size)), BATCH, **settings),
        "torch DataLoader over the store, Pillow": DataLoader(transformed, BATCH, **settings),
    }
    if found := ffcv(folder, store, size):
        loaders["FFCV, JPEGs of quality 90"] = found
    runs: dict[str, Callable[[], Any]] = {name: lambda one=one: drain(one) for name, one in loaders.items()}
    runs["simplejpeg and torch in threads, by hand"] = lambda: drain(threaded(store, by_hand(store, size)))
    runs["limit: full decode of every file"] = lambda: drain(threaded(store, full_decode(store)))
    table = Table(f"JPEGs to batches of {size} x {size}", "images", "loader, transform= of Pillow")
    table.run(rounds, runs)
    table.show(len(paths))


def drain(batches: Any) -> None:
    for _ in batches:
        pass


def distance(files: list[bytes], size: int) -> None:
    """Decibels between the default and `exact`, of whole images decoded at 1/2, 1/4 and 1/8."""
    print(f"\n## Scaled decoding against full, {size} x {size}\n\n| pixels a side | median dB | least |\n|---|---|---|")
    for by in (2, 4, 8):
        found = []
        for data in files:
            with Image.open(io.BytesIO(data)) as image:
                large = image.convert("RGB").resize((by * size + 9, by * size + 5), Image.Resampling.BICUBIC)
            again = simplejpeg.encode_jpeg(np.asarray(large), quality=90, colorsubsampling="420")
            found.append(_decibels(again, size))
        print(f"| {by} x {size}: 1/{by} | {np.median(found):.1f} | {min(found):.1f} |", flush=True)


def _decibels(data: bytes, size: int) -> float:
    out = np.empty((2, size, size, 3), np.uint8)
    for place, exact in zip(out, (False, True), strict=True):
        augment = RandomResizedCrop(size, (1, 1), (1, 1), exact=exact)
        fit(data, "RGB", augment, draws(0, 0, np.array([0]), augment.blocks)[0].tolist(), place)
    error = np.mean((out[0].astype(float) - out[1]) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1400)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    different = list(jpegs(os.environ.get("IMGASSETS_RAW")))
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        paths = []
        for k, data in enumerate(islice(cycle(different), arguments.images)):
            path = Path(temporary) / "raw" / f"class{k % 10}" / f"{k:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            paths.append(path)
        print(f"{len(paths)} JPEGs, {sum(path.stat().st_size for path in paths) / len(paths) / 1e3:.0f} kB each")
        speed(Path(temporary), paths, arguments.size, arguments.rounds)
        distance(different[:60], arguments.size)


if __name__ == "__main__":
    main()

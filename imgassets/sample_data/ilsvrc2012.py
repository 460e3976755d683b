"""ILSVRC2012 in small: a tar of tars and a plain one, with the odd images that the real ones hold among the others."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.sample_data.pictures import picture
from imgassets.sources.ilsvrc import ARCHIVES, MD5SUMS, SYNSET_LABELS

CLASSES = 12
"""Synsets that occur, spread over the 1000."""
TRAIN_IMAGES = (9, 7, 8, 5, 6, 11, 4, 10, 7, 3, 8, 6)
"""By synset; uneven, so that shards end inside classes."""
VALIDATION_IMAGES = 30
ODD: dict[int, dict[str, Any]] = {
    3: {"mode": "L"},
    11: {"mode": "CMYK"},
    17: {"format": "PNG"},
    23: {"progressive": True},
    29: {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
}
"""Every fortieth image from these on: gray, CMYK, a PNG by content, progressive, turned by its EXIF orientation."""


def write(raw: Path) -> None:
    """Write `ilsvrc2012/ILSVRC2012_img_{train,val}.tar`, the validation labels and MD5SUMS below `raw`."""
    folder = raw / "ilsvrc2012"
    folder.mkdir(parents=True, exist_ok=True)
    class_ids = np.linspace(0, 999, CLASSES).astype(int).tolist()
    synsets = [imagenet_classes().synsets[class_id] for class_id in class_ids]
    seeds = iter(range(1 << 16))
    train = {
        f"{synset}.tar": _tar(
            (f"{synset}_{100 + 7 * i}.JPEG", image(next(seeds), hue / CLASSES)) for i in range(TRAIN_IMAGES[hue])
        )
        for hue, synset in enumerate(synsets)
    }
    kinds = np.random.default_rng(0).integers(0, CLASSES, VALIDATION_IMAGES).tolist()
    validation = (
        (f"ILSVRC2012_val_{i + 1:08d}.JPEG", image(next(seeds), kind / CLASSES)) for i, kind in enumerate(kinds)
    )
    tars = {ARCHIVES["train"].file: _tar(train.items()), ARCHIVES["validation"].file: _tar(validation)}
    for name, data in tars.items():
        (folder / name).write_bytes(data)
    (folder / SYNSET_LABELS).write_text("".join(f"{synsets[kind]}\n" for kind in kinds))
    sums = (f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}  {name}\n" for name, data in tars.items())
    (folder / MD5SUMS).write_text("".join(sums))


def image(seed: int, hue: float) -> bytes:
    """One image file: a JPEG of its own size, unless it is one of the odd ones."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    height, width = rng.integers(90, 160, 2).tolist()
    options: dict[str, Any] = {"format": "JPEG", "mode": "RGB", "quality": int(rng.integers(70, 96))} | ODD.get(
        seed % 40, {}
    )
    buffer = io.BytesIO()
    Image.fromarray(picture(seed, height, width, hue)).convert(options.pop("mode")).save(buffer, **options)
    return buffer.getvalue()


def _tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A ustar archive without clock, owner or host."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()

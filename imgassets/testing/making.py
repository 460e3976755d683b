"""Sources and stores that tests are made of."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imgassets.commit import Commit, Recipe, Vault
from imgassets.sources.arrays import ArraySource
from imgassets.sources.base import Source
from imgassets.sources.files import ImageFiles
from imgassets.sources.folder import class_folder, label_folder
from imgassets.sources.resized import Resized
from imgassets.stores.writing import StorePlan, write_store


def commit(root: Path, source: Source, format_: str, name: str = "a", **plan: Any) -> Commit:
    """Write a store below `root` by the commit protocol."""
    vault = Vault(root / "store", root / "state")
    location = vault.location(name, f"{format_}_store", folder=True)
    recipe = Recipe(f"{name}/{format_}_store", "all", {}, {}, f"{format_}/1", "1")
    return vault.commit(location, recipe, lambda stage: write_store(source, stage, StorePlan(format_, **plan)))


def make(root: Path, source: Source, format_: str, name: str = "a", **plan: Any) -> Path:
    """The folder of a store written below `root`."""
    return commit(root, source, format_, name, **plan).location.path


def arrays(rows: int = 47, shape: tuple[int, ...] = (3, 6, 5), dtype: Any = np.uint8, **settings: Any) -> ArraySource:
    """Random images, in two parts, with labels 0..9; the content depends on the row alone."""
    rng = np.random.default_rng(rows)
    images = rng.integers(0, 250, (rows, *shape)).astype(dtype)
    labels = rng.integers(0, 10, rows)
    cut = rows // 3
    parts = [(images[:cut], labels[:cut]), (images[cut:], labels[cut:])] if cut else [(images, labels)]
    return ArraySource(parts, class_to_idx={f"class{k}": k for k in range(10)}, **settings)


def picture(seed: int, height: int, width: int, mode: str = "RGB") -> Image.Image:
    """A smooth picture, so that JPEG keeps it."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [127 + 100 * np.sin((x * (k + 1) + y * (seed % 5 + 1)) / 9 + seed) for k in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **settings: Any) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def write(path: Path, data: bytes) -> Path:
    """A file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def folder(root: Path, per_class: int = 5) -> Path:
    """A class-folder dataset of many sizes and kinds: JPEG, PNG, grayscale, CMYK, nested, unicode."""
    for number, name in enumerate(("class1", "class10", "class2", "größe 猫")):
        for k in range(per_class):
            image = picture(10 * number + k, 20 + 3 * k, 31 - 2 * number)
            write(root / name / ("deep/er" if k == 3 else ".") / f"img{k}.jpg", encoded(image, quality=90))
    write(root / "class1" / "a.PNG", encoded(picture(1, 18, 22), "PNG"))
    write(root / "class2" / "gray.jpeg", encoded(picture(2, 18, 22, "L")))
    write(root / "class10" / "cmyk.jpg", encoded(picture(3, 18, 22, "CMYK")))
    write(root / "class2" / ".hidden.jpg", b"not looked at")
    write(root / "class2" / "notes.txt", b"not an image")
    return root


def dense(root: Path, rows: int = 7, dtype: Any = np.uint8) -> tuple[Path, Path]:
    """Images and label images of their sizes."""
    for k in range(rows):
        height, width = 12 + k, 17 - k
        write(root / "images" / f"{k:02d}.png", encoded(picture(k, height, width), "PNG"))
        label = np.random.default_rng(k).integers(0, 200, (height, width)).astype(dtype)
        write(root / "labels" / f"{k:02d}.png", encoded(Image.fromarray(label), "PNG"))
    return root / "images", root / "labels"


def sources(root: Path) -> dict[str, Source]:
    """One source of every kind a store can hold."""
    images, labels = dense(root / "dense")
    rng = np.random.default_rng(0)
    dense_arrays = ArraySource(
        [(rng.integers(0, 255, (23, 4, 6, 3), np.uint8), rng.integers(-70000, 70000, (23, 4, 6, 2), np.int32))],
        layout="HWC",
    )
    return {
        "arrays": arrays(),
        "float": arrays(29, (7, 3, 1), np.float32, layout="HWC", mode="F"),
        "uint16": arrays(31, (5, 4), np.uint16, layout="HW", mode="I;16"),
        "one": arrays(1, (3, 2, 2)),
        "files": class_folder(folder(root / "folder")),
        "resized": Resized(class_folder(root / "folder"), (11, 7)),
        "dense": dense_arrays,
        "dense files": label_folder(images, labels),
        "dense resized": Resized(label_folder(images, labels), (9, 13)),
    }


def content(source: Source) -> dict[str, Any]:
    """All columns of a source, read directly."""
    return dict(source.read(range(len(source))).columns) if isinstance(source, ImageFiles) else _joined(source)


def _joined(source: Source) -> dict[str, Any]:
    rows = [source.read([k]).columns for k in range(len(source))]
    return {
        f.name: [r[f.name][0] for r in rows] if f.ragged else np.concatenate([np.asarray(r[f.name]) for r in rows])
        for f in source.fields
    }

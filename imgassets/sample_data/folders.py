"""Image folders in small: classes of files of many sizes and kinds, and images with label images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from imgassets.sample_data.pictures import picture

CLASSES = ("001.bear", "002.canoe", "010.lamp", "Straße 猫")
PER_CLASS = 9
DENSE = 12


def write_classes(raw: Path) -> None:
    """Write `folders/mini/<class>/<image>` below `raw`: JPEGs of several sizes, a PNG, a grayscale and a CMYK JPEG."""
    from PIL import Image

    for number, name in enumerate(CLASSES):
        folder = raw / "folders" / "mini" / name
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(PER_CLASS):
            seed = 100 * number + k
            image = Image.fromarray(picture(seed, 120 + 11 * (seed % 7), 160 - 9 * (seed % 5), number / len(CLASSES)))
            kind = {1: "L", 2: "CMYK"}.get(k, "RGB") if number == 1 else "RGB"
            suffix, file_format = (".png", "PNG") if k == 0 else (".jpg", "JPEG")
            _save(folder / f"image_{k + 1}{suffix}", image.convert(kind), file_format)


def write_labelled(raw: Path) -> None:
    """Write `dense/mini/images/*.png` and `dense/mini/labels/*.png`, uint8 classes 0..3, below `raw`."""
    from PIL import Image

    for folder in ("images", "labels"):
        (raw / "dense" / "mini" / folder).mkdir(parents=True, exist_ok=True)
    for k in range(DENSE):
        height, width = (96, 72) if k % 2 else (72, 96)
        pixels = picture(k, height, width, k / DENSE)
        labels = np.digitize(pixels.astype(np.float64).mean(axis=2), [70, 120, 170]).astype(np.uint8)
        _save(raw / "dense" / "mini" / "images" / f"{k:04d}.png", Image.fromarray(pixels), "PNG")
        _save(raw / "dense" / "mini" / "labels" / f"{k:04d}.png", Image.fromarray(labels), "PNG")


def _save(path: Path, image: object, file_format: str) -> None:
    buffer = io.BytesIO()
    image.save(buffer, file_format)  # type: ignore[attr-defined]
    path.write_bytes(buffer.getvalue())

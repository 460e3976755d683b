"""Procedural pictures in every encoding an archive may hold."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(seed: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """uint8 (height, width, 3): smooth waves and a little noise, another one for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 32
    waves = [np.sin(rng.uniform(0.5, 3) * x + rng.uniform(0.5, 3) * y + rng.uniform(0, 6)) for _ in range(3)]
    pixels = 128 + 90 * np.stack(waves, axis=2) + rng.normal(0, 6, (height, width, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def encode(pixels: NDArray[np.uint8], kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    """The file that Pillow makes of a picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(seed: int = 0, height: int = 48, width: int = 64, mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG of a procedural picture."""
    return encode(picture(seed, height, width), "JPEG", mode, **options)


def decoded(data: bytes) -> NDArray[np.uint8]:
    """Pixels as Pillow decodes them to RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))

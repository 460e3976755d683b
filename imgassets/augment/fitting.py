"""An image file's part of a batch: decoded no further than its box needs, and resized into the batch's memory."""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from imgassets.augment.crops import Augment, Crop
from imgassets.augment.region import ROWS_BEYOND, Part, PixelRows, Scratch, address_of, decode_part
from imgassets.augment.scaling import rescale, room_between, weights
from imgassets.images.jpeg import END, START
from imgassets.images.pixels import STORED_PIXELS, decode

CHANNELS = {"RGB": 3, "L": 1}
"""Modes that images can be brought to."""
_DECODED = {"YCbCr": ("RGB",), "RGB": ("RGB",), "Gray": ("RGB", "L")}
"""Modes that libjpeg makes of a JPEG's colours, with Pillow's pixels."""
_REDUCED = (8, 4, 2)


class _Memory(local):
    """Of each thread: pixels as they were decoded, and at their new width."""

    def __init__(self) -> None:
        self.decoded, self.between = Scratch(), Scratch()


_memory = _Memory()


def fit(
    data: bytes | memoryview, mode: str, augment: Augment, numbers: Sequence[float], out: NDArray[np.uint8]
) -> None:
    """Fill `out`, uint8 (height, width, channels), contiguous, with an image file in `mode`, `RGB` or `L`.

    Images are what `images.pixels.decode` makes of them. Of a JPEG that is whole at its end, damage below the box is
    not seen.

    Raises:
        BadImage: there is no decoding it.
    """
    if not _fit_part(data, mode, augment, numbers, out):
        _fit_whole(decode(data, mode), augment, numbers, out)


def _fit_whole(pixels: NDArray[Any], augment: Augment, numbers: Sequence[float], out: NDArray[np.uint8]) -> None:
    height, width, channels = pixels.shape
    crop = augment.crop(height, width, numbers)
    rows = np.empty((crop.height + ROWS_BEYOND, crop.width, channels), np.uint8)
    rows[: crop.height] = pixels[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    decoded = PixelRows(address_of(rows), crop.width * channels)
    _resize(decoded, (0.0, float(crop.width)), (0.0, float(crop.height)), crop.mirrored, out)


def _fit_part(
    data: bytes | memoryview, mode: str, augment: Augment, numbers: Sequence[float], out: NDArray[np.uint8]
) -> bool:
    """Whether it is a JPEG that decodes without a complaint up to the end of its box; then `out` has it."""
    if data[:2] != START or data[-2:] != END:
        return False
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    if mode not in _DECODED.get(colours, ()) or height * width > STORED_PIXELS:
        return False
    crop = augment.crop(height, width, numbers)
    reduced = 1 if augment.exact else _reduction(crop, out.shape)
    (first, columns), (top, lines) = (
        _cover(*stretch, reduced) for stretch in ((crop.left, crop.width), (crop.top, crop.height))
    )
    part = Part(first, top, columns, lines)
    size = (-(-width // reduced), -(-height // reduced))
    decoded = decode_part(data, size, part, out.shape[2], reduced, _memory.decoded)
    if decoded is None:
        return False
    across = (crop.left / reduced - part.left, crop.width / reduced)
    down = (crop.top / reduced - part.top, crop.height / reduced)
    _resize(decoded, across, down, crop.mirrored, out)
    return True


def _reduction(crop: Crop, shape: Sequence[int]) -> int:
    """The most by which a box can be decoded smaller, and still have more pixels than the result."""
    return next((by for by in _REDUCED if crop.height >= by * shape[0] and crop.width >= by * shape[1]), 1)


def _cover(start: int, length: int, reduced: int) -> tuple[int, int]:
    """First pixel and number of pixels that a stretch touches in the reduced image."""
    first = start // reduced
    return first, -(-(start + length) // reduced) - first


def _resize(
    decoded: PixelRows, across: tuple[float, float], down: tuple[float, float], mirrored: bool, out: NDArray[np.uint8]
) -> None:
    """Of pixels, a stretch (start, length) across and down."""
    columns, rows = weights(*across, out.shape[1], mirrored), weights(*down, out.shape[0])
    between = _memory.between.room(room_between(rows.end, out.shape))
    rescale(*decoded, columns, rows, between, address_of(out), out.shape)

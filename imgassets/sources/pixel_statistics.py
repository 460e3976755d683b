"""Exact per-channel and per-pixel statistics of planar uint8 images, one block of rows after another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CACHED = 256 << 10
"""Bytes worked on at a time: with the squares, twice as many, what stays in a level 2 cache."""
_LANE = 257
"""Rows of bytes whose sum fits in 16 bits: 257 × 255 = 65535."""


@dataclass(frozen=True)
class Channel:
    """One colour over all its pixels, in units of the stored bytes (0..255); `std` is the population's."""

    min: int
    max: int
    mean: float
    std: float


class PixelStatistics:
    """Sums of images of 3 × resolution × resolution bytes, in integers: the same numbers for any blocks and any order.

    Columns are added in 16-bit lanes, which numpy vectorizes, and carried over to 64 bits before a lane can overflow.
    """

    def __init__(self, resolution: int) -> None:
        self.rows = 0
        self._pixels = resolution * resolution  # at most 256²: a 32-bit sum holds so many squares of bytes
        self._sums = np.zeros(3 * self._pixels, np.int64)
        self._squares = np.zeros(3, np.int64)
        self._min, self._max = np.full(3, 255), np.zeros(3, np.int64)
        self._step = max(1, min(_LANE, _CACHED // (3 * self._pixels)))
        self._lanes, self._part = np.zeros((2, 3 * self._pixels), np.uint16)
        self._lane_rows = 0
        self._square = np.empty((self._step, 3 * self._pixels), np.uint16)

    def add(self, images: NDArray[np.uint8]) -> None:
        """Count `images`, uint8 (rows, 3 × resolution²), C order."""
        for start in range(0, len(images), self._step):
            self._add(images[start : start + self._step])

    def _add(self, images: NDArray[np.uint8]) -> None:
        n = len(images)
        if self._lane_rows + n > _LANE:
            self._carry()
        np.add.reduce(images, axis=0, dtype=np.uint16, out=self._part)
        np.add(self._lanes, self._part, out=self._lanes)
        self._lane_rows += n
        square = self._square[:n]
        np.square(images, out=square, dtype=np.uint16)
        self._squares += np.add.reduce(square.reshape(n, 3, self._pixels), axis=2, dtype=np.uint32).sum(0, np.int64)
        if self._min.any() or (self._max != 255).any():  # natural images reach both ends in the first block
            np.minimum(self._min, images.min(0).reshape(3, -1).min(1), out=self._min)
            np.maximum(self._max, images.max(0).reshape(3, -1).max(1), out=self._max)
        self.rows += n

    def _carry(self) -> None:
        self._sums += self._lanes
        self._lanes[:] = 0
        self._lane_rows = 0

    def pixel_sums(self) -> NDArray[np.int64]:
        """int64 (3 × resolution²,): the sum over all rows of every column; sums of several batches may be added."""
        self._carry()
        return self._sums.copy()

    def channels(self) -> tuple[Channel, ...]:
        """Red, green, blue."""
        count = self.rows * self._pixels
        sums = self.pixel_sums().reshape(3, -1).sum(1).tolist()
        return tuple(
            # Python's integers and its division of them are exact; a float's sum of squares would cancel
            Channel(low, high, total / count, math.sqrt((count * squares - total * total) / (count * count)))
            for low, high, total, squares in zip(
                self._min.tolist(), self._max.tolist(), sums, self._squares.tolist(), strict=True
            )
        )

"""Exact per-channel and per-pixel statistics of planar uint8 images, one block of rows after another, and whether they
are planar."""

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


class Neighbours:
    """Whether rows are planar, told by how much bytes differ that lie `resolution` apart, and three times that.

    One line down in a planar image is what in one of H, W, C is a third of a line to the side, in another colour; three
    lines down there is one line down here. Pictures differ least from one line to the next, so one of the two is about
    half of the other (0.5 to 0.65, measured at 16 to 64 pixels a side); of noise they are alike. Of 16 rows of a block
    one is looked at.
    """

    LIMIT = 1.25

    def __init__(self, resolution: int) -> None:
        self._resolution, self._rows, self._sums = resolution, 0, [0, 0]

    def add(self, images: NDArray[np.uint8]) -> None:
        """Look at some of `images`, uint8 (rows, 3 × resolution²)."""
        some = images[::16].astype(np.int16)
        self._rows += len(some)
        for i, apart in enumerate(self._apart):
            self._sums[i] += int(np.abs(some[:, apart:] - some[:, :-apart]).sum(dtype=np.int64))

    @property
    def _apart(self) -> tuple[int, int]:
        return self._resolution, 3 * self._resolution

    def warning(self) -> str | None:
        """That rows look like H, W, C, in numbers, and what to do; None of planar ones, and where nothing is told."""
        side = self._resolution
        near, far = (total / max(1, self._rows * (3 * side**2 - apart))
                     for total, apart in zip(self._sums, self._apart, strict=True))  # fmt: skip
        if near <= self.LIMIT * far:
            return None
        return (
            f"rows look like H, W, C, not planar: bytes {3 * side} apart differ by {far:.1f}, those {side} apart by "
            f"{near:.1f}, so colours would be scrambled; expected all red, then all green, then all blue: save "
            f"data.reshape(-1, {side}, {side}, 3).transpose(0, 3, 1, 2).reshape(-1, {3 * side**2}) in its place"
        )

"""What becomes of an image on its way into a batch: which part of it, at which size, mirrored or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from imgassets.augment.draws import BLOCK
from imgassets.augment.scaling import LANES
from imgassets.errors import BadInput

TRIES = 10
"""Boxes that are drawn until one lies in the image, as torchvision does."""


class Crop(NamedTuple):
    """A box of an image, in pixels, and whether it is mirrored left to right."""

    left: int
    top: int
    width: int
    height: int
    mirrored: bool = False


class Augment(Protocol):
    """What `store.loader(augment=…)` takes."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of every image of a batch."""
        ...

    @property
    def exact(self) -> bool:
        """Whether images are decoded at their full size."""
        ...

    @property
    def blocks(self) -> int:
        """Fours of random numbers that an image needs."""
        ...

    def crop(self, height: int, width: int, numbers: Sequence[float]) -> Crop:
        """The box of an image, of numbers from 0 to below 1."""
        ...


@dataclass(frozen=True)
class _Sized:
    """What gives images of one size, and draws nothing unless it says so."""

    size: int | tuple[int, int]

    def __post_init__(self) -> None:
        sides = list(self.size) if isinstance(self.size, tuple | list) else [self.size, self.size]
        if len(sides) != 2 or not all(isinstance(side, int) and LANES <= side <= 1 << 14 for side in sides):
            raise BadInput(
                f"size {self.size}: expected height and width, or one number for both, of {LANES} to {1 << 14}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    @property
    def blocks(self) -> int:
        """None: nothing is random."""
        return 0


@dataclass(frozen=True)
class Resize(_Sized):
    """The whole image at one size, stretched where it has another aspect.

    Args:
        size: height and width, or one number for both.
        exact: see `RandomResizedCrop`.
    """

    exact: bool = False

    def crop(self, height: int, width: int, numbers: Sequence[float]) -> Crop:
        """All of it."""
        return Crop(0, 0, width, height)


@dataclass(frozen=True)
class CenterCrop(_Sized):
    """The largest centred box of the size's aspect, or a `fraction` of its sides, at that size: for validation.

    Args:
        size: height and width, or one number for both.
        fraction: of both sides of that box; 224 / 256 is what `Resize(256)` and `CenterCrop(224)` leave of the shorter.
        exact: see `RandomResizedCrop`.
    """

    fraction: float = 224 / 256
    exact: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fraction <= 1:
            raise BadInput(f"fraction {self.fraction} of the centred box: expected a number above 0, at most 1.")

    def crop(self, height: int, width: int, numbers: Sequence[float]) -> Crop:
        """The box, rounded to whole pixels."""
        rows, columns = self.shape
        scale = self.fraction * min(height / rows, width / columns)
        high = min(height, max(1, round(rows * scale)))
        wide = min(width, max(1, round(columns * scale)))
        return Crop((width - wide) // 2, (height - high) // 2, wide, high)


@dataclass(frozen=True)
class RandomResizedCrop(_Sized):
    """A random box of the image at one size, by torchvision's rule: area and aspect are drawn until the box fits.

    Args:
        size: height and width, or one number for both.
        scale: least and largest part of the image's area.
        ratio: least and largest width : height, drawn evenly by its logarithm.
        flip: how probable it is that the box is mirrored left to right.
        exact: decode at full size and resize as Pillow does, within one level of
            `image.crop(box).resize(size, BILINEAR)`. Without, a JPEG of whose box at least twice the size is left is
            decoded at 1/2, 1/4 or 1/8, some 40 dB from that, and any other image exactly.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    exact: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise BadInput(f"scale {self.scale}: expected two parts of the area, ascending, above 0 and at most 1.")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise BadInput(f"ratio {self.ratio}: expected two ratios of width to height, ascending and above 0.")
        if not 0 <= self.flip <= 1:
            raise BadInput(f"flip {self.flip}: expected a probability, from 0 to 1.")

    @property
    def blocks(self) -> int:
        """One of each try (area, aspect, top, left), and one of whose numbers the first decides about mirroring."""
        return TRIES + 1

    def crop(self, height: int, width: int, numbers: Sequence[float]) -> Crop:
        """The first box of ten that fits; else the largest centred one of an allowed aspect."""
        mirrored = numbers[BLOCK * TRIES] < self.flip
        (least, most), (narrow, wide) = self.scale, (math.log(edge) for edge in self.ratio)
        for k in range(0, BLOCK * TRIES, BLOCK):
            area, aspect, top, left = numbers[k : k + BLOCK]
            pixels = height * width * (least + (most - least) * area)
            ratio = math.exp(narrow + (wide - narrow) * aspect)
            columns, rows = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if 0 < columns <= width and 0 < rows <= height:
                places = (int(left * (width - columns + 1)), int(top * (height - rows + 1)))
                return Crop(*places, columns, rows, mirrored)
        columns, rows = _within(width, height, self.ratio)
        return Crop((width - columns) // 2, (height - rows) // 2, columns, rows, mirrored)


def _within(width: int, height: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """(columns, rows) of the largest box of an allowed aspect."""
    if width < height * ratio[0]:
        return width, max(1, round(width / ratio[0]))
    if width > height * ratio[1]:
        return max(1, round(height * ratio[1])), height
    return width, height

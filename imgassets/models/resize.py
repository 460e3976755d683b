"""Bringing images to the network's size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput
from imgassets.functions import function_named

Images = NDArray[np.uint8]
Resize = Callable[[Images, int], Images]
"""(H, W, 3) uint8 and a size -> (size, size, 3) uint8."""

ENLARGE = ("nearest", "bilinear", "hamming", "bicubic", "lanczos", "box")
"""Filters by Pillow's names."""


def _pillow(image: Images, size: int, filter_name: str, box: tuple[float, float, float, float] | None = None) -> Images:
    from PIL import Image

    resized = Image.fromarray(image).resize((size, size), Image.Resampling[filter_name.upper()], box=box)
    return np.asarray(resized)


def lanczos_stretch(image: Images, size: int) -> Images:
    """The published extraction's way: Lanczos to a square, whatever the aspect; wide images come out narrow."""
    return _pillow(image, size, "lanczos")


def box_center_crop(image: Images, size: int) -> Images:
    """The largest centred square, reduced by the mean over each output pixel's area, as ImageNet64 is said to be."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return _pillow(image, size, "box", (left, top, left + side, top + side))


NAMED: dict[str, Resize] = {"lanczos_stretch": lanczos_stretch, "box_center_crop": box_center_crop}


def find_resize(name: str | Resize) -> Resize:
    """A resizing by its name, by `package.module:function`, or itself; `BadInput` where there is none."""
    if callable(name):
        return name
    if name in NAMED:
        return NAMED[name]
    if ":" not in name:
        raise BadInput(f"resize={name!r}: choose {' or '.join(NAMED)}, or name your own as package.module:function")
    return function_named(name, "resize")


def resize_image(image: NDArray[Any], size: int, how: Resize, where: str) -> Images:
    """One (H, W, 3) uint8 image -> (3, size, size); `BadInput` names `where` if either side is anything else."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise BadInput(f"{where}: an RGB image of 8 bits was expected, found {image.dtype} {list(image.shape)}")
    small = image if image.shape[:2] == (size, size) else np.asarray(how(image, size))
    if small.dtype != np.uint8 or small.shape != (size, size, 3):
        raise BadInput(
            f"{where}: the resizing gave {small.dtype} {list(small.shape)}, expected uint8 [{size}, {size}, 3]"
        )
    planar: Images = small.transpose(2, 0, 1)
    return planar


def fit_planar(images: Images, size: int, enlarge: str | None, where: str) -> Images:
    """(B, 3, S, S) uint8 of an NPZ batch -> (B, 3, size, size): larger ones reduced by the box filter, as the scripts
    that made these data sets do; smaller ones enlarged by the filter named.

    Raises `BadInput` for another shape, a side that is no multiple or divisor of `size`, and where images must be
    enlarged but no filter was named.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise BadInput(f"{where}: uint8 (N, 3, S, S) was expected, found {images.dtype} {list(images.shape)}")
    side = images.shape[2]
    if side == size:
        return images
    if side % size and size % side:
        raise BadInput(f"{where}: images of {side} pixels; {size}, or a multiple or divisor of it, was expected")
    if side < size and enlarge not in ENLARGE:
        raise BadInput(
            f"{where}: images of {side} pixels must be enlarged to {size}; name the filter in `enlarge`: "
            f"{', '.join(ENLARGE)}"
        )
    name = "box" if side > size else str(enlarge)
    fitted = np.empty((len(images), 3, size, size), np.uint8)
    for image, place in zip(images, fitted, strict=True):
        place[:] = _pillow(image.transpose(1, 2, 0), size, name).transpose(2, 0, 1)
    return fitted

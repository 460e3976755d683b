"""Another source's pixels as image files, for formats and programs that hold images as such."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Field
from imgassets.errors import BadInput
from imgassets.images.pixels import to_image
from imgassets.sources.base import Samples, Source

PNG_MODES = {("|u1", 1): "L", ("|u1", 3): "RGB", ("|u1", 4): "RGBA", ("<u2", 1): "I;16", ("|b1", 1): "1"}
"""Pillow's mode of pixels that a PNG holds without loss, by dtype and channels."""


class Encoded(Source):
    """Each image of one size as a PNG of the same pixels; everything else as the other source has it.

    Raises:
        BadInput: a PNG cannot hold such pixels.
    """

    def __init__(self, source: Source) -> None:
        self._source, self.class_to_idx = source, source.class_to_idx
        image, *rest = source.fields
        self._image = image
        self._mode = png_mode(image)
        self.fields = (Field("image", "file", mode=self._mode), *rest)

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: Sequence[int]) -> Samples:
        """Columns of some samples; see `Source.read`."""
        samples = self._source.read(indices)
        pixels = channels_last(self._image, np.asarray(samples.columns["image"]))
        files = [_png(image, self._mode) for image in pixels]
        return Samples({**samples.columns, "image": files}, samples.notes, samples.damaged)

    def start_thread(self) -> None:
        """As the other source."""
        self._source.start_thread()

    def name(self, index: int) -> str:
        """The name in the other source."""
        return self._source.name(index)

    def nbytes(self, index: int) -> int:
        """As if nothing were compressed."""
        return self._source.nbytes(index)

    def sizes(self) -> Mapping[str, NDArray[np.int64]]:
        """Of the other source; images as if nothing were compressed, and what a PNG has beside them."""
        return {**self._source.sizes(), "image": np.full(len(self), self._image.nbytes + 100, np.int64)}

    @property
    def about(self) -> Mapping[str, Any]:
        """Of the other source."""
        return self._source.about


def channels_last(image: Field, pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels (rows, height, width, channels), whatever the order of axes a field has."""
    if image.layout == "HW":
        return pixels[..., None]
    return pixels if image.layout == "HWC" else pixels.transpose(0, 2, 3, 1)


def png_mode(image: Field) -> str:
    """Pillow's mode of a field's pixels as a PNG.

    Raises:
        BadInput: there is none.
    """
    channels = 1 if image.layout == "HW" else image.shape[-1] if image.layout == "HWC" else image.shape[0]
    mode = PNG_MODES.get((image.dtype, channels)) if len(image.shape) == 2 + (image.layout != "HW") else None
    if mode is None or image.mode not in {"", *PNG_MODES.values()}:
        raise BadInput(
            f"Images of {image.dtype} {image.mode or list(image.shape)} do not fit into PNG files: leave `layout` out, "
            "or convert them to L, RGB or I;16."
        )
    return mode


def _png(pixels: NDArray[Any], mode: str) -> bytes:
    file = io.BytesIO()
    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    to_image(plain, mode).save(file, "PNG")
    return file.getvalue()

"""Another source's pixels as image files, for formats and programs that hold images as such."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Columns, Field
from imgassets.errors import BadInput
from imgassets.images.pixels import to_image
from imgassets.sources.base import Samples, Source, Wrapped

PNG_MODES = {("|u1", 1): "L", ("|u1", 3): "RGB", ("|u1", 4): "RGBA", ("<u2", 1): "I;16", ("|b1", 1): "1"}
"""Pillow's mode of pixels that a PNG holds without loss, by dtype and channels."""


class Changed(Wrapped):
    """Another source's samples with other columns."""

    def read(self, indices: Sequence[int]) -> Samples:
        """Columns of some samples; see `Source.read`."""
        samples = self._source.read(indices)
        return Samples(self.changed(samples.columns), samples.notes, samples.damaged)

    @abstractmethod
    def changed(self, columns: Columns) -> Columns:
        """The columns as they are to be."""


class Only(Changed):
    """Images and labels, and nothing else that the source has."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.fields = tuple(field for field in source.fields if field.name in {"image", "label"})
        if len(self.fields) != 2 or any(field.dtype != "<i8" for field in self.fields if field.kind == "array"):
            raise BadInput("layout: guide stores images, each with a label that is a whole number or a file.")

    def changed(self, columns: Columns) -> Columns:
        """Without the others."""
        return {field.name: columns[field.name] for field in self.fields}


class Pixels(Changed):
    """Images of 8-bit pixels with channels last, and labels: what the guide's fixed-size formats hold."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._image, label = (next(f for f in source.fields if f.name == name) for name in ("image", "label"))
        mode = "" if self._image.ragged else png_mode(self._image)
        dense = label.shape and label.dtype == "|u1"
        if mode not in {"L", "RGB", "RGBA"} or not (dense or (label.dtype, label.shape) == ("<i8", ())):
            raise BadInput("layout: guide stores 8-bit images of one size in memmap and hdf5: set a size and a mode.")
        shape = channels_last(self._image, np.empty((1, *self._image.shape), np.uint8)).shape[1:]
        self.fields = (replace(self._image, shape=shape, layout="HWC", mode=mode), label)

    def changed(self, columns: Columns) -> Columns:
        """Channels last."""
        return {"image": channels_last(self._image, np.asarray(columns["image"])), "label": columns["label"]}


class Encoded(Changed):
    """Each image of one size as a PNG of the same pixels; everything else as the other source has it.

    Raises:
        BadInput: a PNG cannot hold such pixels.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._image, *rest = source.fields
        self._mode = png_mode(self._image)
        self.fields = (Field("image", "file", mode=self._mode), *rest)

    def changed(self, columns: Columns) -> Columns:
        """Images as files."""
        pixels = channels_last(self._image, np.asarray(columns["image"]))
        return {**columns, "image": [_png(image, self._mode) for image in pixels]}

    def sizes(self) -> Mapping[str, NDArray[np.int64]]:
        """Of the other source; images as if nothing were compressed, and what a PNG has beside them."""
        return {**self._source.sizes(), "image": np.full(len(self), self._image.nbytes + 100, np.int64)}


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

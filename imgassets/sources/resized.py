"""Another source's images as pixels of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Column, array_field
from imgassets.errors import BadInput
from imgassets.images.header import BadImage
from imgassets.images.pixels import MODES, decode_label, examine, nearest, resize
from imgassets.sources.base import BadSamples, Samples, Source, Wrapped


class Resized(Wrapped):
    """Images decoded to `mode` and resized to `size` (height, width), labels of every pixel to the nearest one's.

    Images are stretched to the size, as the usual `Resize((height, width))` does. Without a `size` images must be of
    one size already; the first decides which.
    """

    def __init__(
        self, source: Source, size: tuple[int, int] | None, mode: str = "RGB", *, orient: bool = False
    ) -> None:
        if mode not in MODES:
            raise BadInput(f"There is no mode {mode!r}: choose one of {', '.join(MODES)}.")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise BadInput(f"size {list(size)} is not [height, width] of at least 1 each.")
        super().__init__(source)
        self._mode, self._orient, self._wanted = mode, orient, size
        dtype, channels = MODES[mode]
        label = next(f for f in source.fields if f.name == "label")
        self._dense = label.kind == "file"
        first = self._first() if size is None or self._dense else {}
        height, width = size or first["image"].shape[:2]
        self.size = (int(height), int(width))
        image = array_field("image", dtype, (*self.size, channels), "HWC", mode)
        if self._dense:
            shape = (*self.size, *first["label"].shape[2:])
            label = array_field("label", first["label"].dtype, shape, "HWC"[: len(shape)])
        rest = tuple(f for f in source.fields if f.name not in {"image", "label"})
        self.fields = (image, label, *rest)

    def _first(self) -> Mapping[str, Any]:
        """The first sample that can be used."""
        reasons: list[str] = []
        for index in range(len(self._source)):
            try:
                columns = self._source.unjudged([index]).columns
                _, image = examine(columns["image"][0], self._mode, self._orient)
                return {"image": image} | ({"label": decode_label(columns["label"][0])} if self._dense else {})
            except BadSamples as error:
                reasons = reasons or list(error.reasons.values())
            except BadImage as error:
                reasons = reasons or [str(error)]
        first = f": {self._source.name(0)} {reasons[0]}" if reasons else ""
        raise BadInput(f"None of the {len(self._source)} images can be used{first}.")

    def read(self, indices: Sequence[int]) -> Samples:
        """Columns of some samples; see `Source.read`."""
        samples = self._source.unjudged(indices)
        columns: dict[str, Column] = dict(samples.columns)
        image = self.fields[0]
        images = np.empty((len(indices), *image.shape), image.dtype)
        labels = np.empty((len(indices), *self.fields[1].shape), self.fields[1].dtype) if self._dense else None
        bad: dict[int, str] = {}
        damaged: dict[int, str] = {}
        for row, index in enumerate(indices):
            try:
                header, pixels = examine(columns["image"][row], self._mode, self._orient)
                if header.warning is not None:
                    damaged[index] = header.warning
                if labels is not None:
                    labels[row] = self._label(columns["label"][row], pixels.shape[:2])
                images[row] = self._fit(pixels)
            except BadImage as error:
                bad[index] = str(error)
        if bad:
            raise BadSamples(bad)
        columns["image"] = images
        if labels is not None:
            columns["label"] = labels
        return Samples(columns, samples.notes, damaged)

    def _fit(self, pixels: Any) -> Any:
        if self._wanted is None and pixels.shape[:2] != self.size:
            raise BadImage(f"is {pixels.shape[:2]}, the first image {self.size}: set a size, or keep files")
        return resize(pixels, self.size, self._mode)

    def _label(self, data: bytes, size: tuple[int, ...]) -> Any:
        label, field = decode_label(data), self.fields[1]
        if label.shape[:2] != size:
            raise BadImage(f"its label is {label.shape[:2]}, the image {size} (height, width)")
        if label.shape[2:] != field.shape[2:]:
            raise BadImage(f"its label has shape {label.shape}, the first one {field.shape}")
        cast = label.astype(field.dtype)
        if not np.array_equal(cast, label):
            raise BadImage(f"its label is {label.dtype} with values up to {label.max()}, the first one {field.dtype}")
        return nearest(cast, self.size)

    def start_thread(self) -> None:
        """One thread of torch in each of ours: more would fight over the same processors."""
        import torch

        torch.set_num_threads(1)

    def nbytes(self, index: int) -> int:
        """Bytes of the pixels, and of what is kept beside them."""
        return sum(field.nbytes for field in self.fields if not field.ragged) + 64

    def sizes(self) -> Mapping[str, NDArray[np.int64]]:
        """Of what is kept beside the pixels."""
        ragged = {field.name for field in self.fields if field.ragged}
        return {name: sizes for name, sizes in self._source.sizes().items() if name in ragged}

    @property
    def about(self) -> Mapping[str, Any]:
        """Of the other source, and size, mode and filter."""
        how = {"size": list(self.size), "mode": self._mode, "filter": "bicubic, antialiased"}
        return {**self._source.about, **how, "exif": "upright" if self._orient else "ignored"}

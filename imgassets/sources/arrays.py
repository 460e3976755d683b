"""Images and labels as arrays, in one or several parts that follow each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import array_field
from imgassets.errors import BadInput
from imgassets.sources.base import Samples, Source


class ArraySource(Source):
    """Images (rows, …) and labels (rows,) or (rows, …), part after part.

    `layout` says what the image axes mean: `CHW`, `HWC` or `HW`.
    """

    def __init__(
        self,
        parts: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        *,
        layout: str = "CHW",
        mode: str = "RGB",
        class_to_idx: Mapping[str, int] | None = None,
        names: Sequence[str] = (),
    ) -> None:
        if not parts:
            raise BadInput("There are no arrays to read from: name at least one part.")
        images, labels = parts[0]
        if not all(array.ndim for part in parts for array in part):
            raise BadInput("Images and labels are arrays with a row a sample, one of these is a single number.")
        for k, (x, y) in enumerate(parts):
            what = names[k] if names else f"part {k}"
            if len(x) != len(y):
                raise BadInput(f"{what} has {len(x)} images and {len(y)} labels: make it again.")
            if (x.shape[1:], x.dtype, y.shape[1:], y.dtype) != (
                images.shape[1:],
                images.dtype,
                labels.shape[1:],
                labels.dtype,
            ):
                raise BadInput(
                    f"{what} has images {x.shape[1:]} {x.dtype} and labels {y.shape[1:]} {y.dtype}, the ones before "
                    f"{images.shape[1:]} {images.dtype} and {labels.shape[1:]} {labels.dtype}."
                )
        self._parts = list(parts)
        self._names = list(names)
        self._starts = np.cumsum([0, *(len(y) for _, y in parts)])
        self.class_to_idx = dict(class_to_idx or {})
        self.fields = (
            array_field("image", images.dtype, images.shape[1:], layout, mode),
            array_field("label", labels.dtype, labels.shape[1:]),
        )

    @classmethod
    def open(cls, folders: Sequence[Path], class_to_idx: Mapping[str, int] | None = None) -> ArraySource:
        """Map `images.npy` (rows, 3, H, W) and `labels.npy` of several folders.

        Raises:
            BadInput: a file is missing or no NPY file.
        """
        parts = []
        for folder in folders:
            try:
                parts.append(
                    (
                        np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
                        np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False),
                    )
                )
            except Exception as error:  # numpy parses a Python literal here: a hostile one raises nearly anything
                raise BadInput(f"{folder} does not hold images.npy and labels.npy ({error}): make it again.") from error
        return cls(parts, class_to_idx=class_to_idx, names=[folder.name for folder in folders])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, indices: Sequence[int]) -> Samples:
        """Columns of some samples; a range inside one part is not copied."""
        first, last = indices[0], indices[-1]
        part = int(np.searchsorted(self._starts, first, side="right")) - 1
        if isinstance(indices, range) and indices.step == 1 and last < self._starts[part + 1]:
            place = slice(first - int(self._starts[part]), last + 1 - int(self._starts[part]))
            images, labels = self._parts[part]
            return Samples({"image": _slice(images, place), "label": _slice(labels, place)})
        rows = np.asarray(indices)
        found = np.searchsorted(self._starts, rows, side="right") - 1
        columns = [self._parts[k][:2] for k in found]
        local = rows - self._starts[found]
        return Samples(
            {
                "image": np.stack([x[i] for (x, _), i in zip(columns, local, strict=True)]),
                "label": np.stack([y[i] for (_, y), i in zip(columns, local, strict=True)]),
            }
        )

    def name(self, index: int) -> str:
        """Part and row."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        what = self._names[part] if self._names else f"part {part}"
        return f"{what} row {index - self._starts[part]}"

    @property
    def about(self) -> Mapping[str, Any]:
        """Where each part begins."""
        names = self._names or [f"part {k}" for k in range(len(self._parts))]
        rows = [int(b - a) for a, b in pairwise(self._starts)]
        return {"parts": [{"name": n, "rows": r} for n, r in zip(names, rows, strict=True)]}


def _slice(array: NDArray[Any], place: slice) -> NDArray[Any]:
    """Some rows; of a mapped file by reading them, because mapped pages would all count as this process's memory."""
    if not (isinstance(array, np.memmap) and array.flags.c_contiguous and array.filename):
        return array[place]
    row = array[:1].nbytes
    start = array.offset + place.start * row
    count = (place.stop - place.start) * row // array.itemsize
    return np.fromfile(array.filename, array.dtype, count, offset=start).reshape(-1, *array.shape[1:])

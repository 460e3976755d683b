"""Images and labels as two `.npy` files that any program can map: `images.npy` and `labels.npy`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from imgassets.commit import Sink, Stage, Written
from imgassets.errors import StoreError

IMAGES = "images.npy"
LABELS = "labels.npy"


@dataclass(frozen=True)
class LabelledImages:
    """What arrays are written from."""

    blocks: Iterable[NDArray[np.uint8]]
    """uint8 (n, channels*height*width) in order; one at a time is held."""
    labels: NDArray[np.int64]
    """(N,) class_ids."""
    shape: tuple[int, int, int]
    """(channels, height, width)."""


def write_arrays(content: LabelledImages, stage: Stage) -> Written:
    """Write `images.npy`, uint8 (N, C, H, W), and `labels.npy`, int64 (N,), both in C order.

    Raises:
        StoreError: the blocks do not hold as many images as there are labels.
    """
    count = len(content.labels)
    stage.need(count * (int(np.prod(content.shape)) + 8))
    if not stage.finished(IMAGES):
        with stage.create(IMAGES) as sink:
            _write_header(sink, (count, *content.shape), np.uint8)
            rows = 0
            for block in content.blocks:
                sink.write(block.data)
                rows += len(block)
            if rows != count:
                raise StoreError(f"{stage.location.path}: {rows} images came for {count} labels.")
    if not stage.finished(LABELS):
        with stage.create(LABELS) as sink:
            _write_header(sink, (count,), np.int64)
            sink.write(np.ascontiguousarray(content.labels, np.int64).data)
    return Written({"rows": count, "shape": "×".join(map(str, (count, *content.shape))), "dtype": "uint8"})


@dataclass(frozen=True)
class Arrays:
    """Reads an arrays folder, by mapping its files; StoreError where one is damaged."""

    path: Path

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """Read-only uint8 (N, C, H, W)."""
        return _map(self.path / IMAGES)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Read-only int64 (N,), class_ids."""
        return _map(self.path / LABELS)

    def __len__(self) -> int:
        return len(self.labels)


class ImageRows:
    """The images of several arrays end to end, as rows of pixels by global index.

    Rows are read with `pread`, not through the maps: a mapped page brings fifteen neighbours with it and they all
    count as this process's memory.
    """

    def __init__(self, parts: Sequence[Arrays]) -> None:
        shapes = {part.images.shape[1:] for part in parts}
        if len(shapes) != 1:
            raise StoreError(f"images of different shapes cannot stand end to end: {sorted(map(str, shapes))}.")
        self.shape: tuple[int, ...] = shapes.pop()
        self.width = int(np.prod(self.shape))
        self._files = [open(part.path / IMAGES, "rb", buffering=0) for part in parts]  # noqa: SIM115
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self._offsets = [int(part.images.offset) for part in parts]  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Copy rows `indices` (n,) into `out`, uint8 (n, width), in that order; safe from several threads."""
        parts = np.searchsorted(self._starts, indices, side="right") - 1
        places = (indices - self._starts[parts]) * self.width
        for row, part, place in zip(out, parts.tolist(), places.tolist(), strict=True):
            if os.preadv(self._files[part].fileno(), [row.data], self._offsets[part] + place) != self.width:
                raise StoreError(f"{self._files[part].name} ends early: materialize its partition again.")

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _map(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses a Python literal here: a hostile one raises nearly anything
        raise StoreError(f"{path} cannot be read ({error}): materialize its partition again.") from error
    return array


def _write_header(sink: Sink, shape: tuple[int, ...], dtype: Any) -> None:
    buffer = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    sink.write(buffer.getvalue())

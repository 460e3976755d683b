"""Downsampled ImageNet: batches of images and labels in NPZ files (16, 32, 64, 128 or 256 pixels a side).

A batch holds `data`, uint8 (rows, 3 × resolution²), planar: all red, then all green, then all blue, each row by row;
`labels`, (rows,), 1..1000 in the order of the ILSVRC devkit; and in train batches `mean`, float64 (3 × resolution²,),
the mean image of the whole train split (Chrabaszcz, Loshchilov and Hutter 2017, arXiv:1707.08819).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imgassets.errors import BadInput
from imgassets.places import Place, slice_of
from imgassets.sources.inspection import Inspection
from imgassets.sources.npz import NpzFile, NpzMember, Stream, open_npz, read_at, torn_npz
from imgassets.sources.pixel_statistics import Neighbours, PixelStatistics
from imgassets.sources.zip_directory import MAX_BYTES, MAX_RATIO

RESOLUTIONS = (16, 32, 64, 128, 256)
CLASSES = 1000
_BLOCK = 1 << 20


@dataclass(frozen=True)
class NpzBatch:
    """One batch whose headers are in order. It holds no open file and no pixels; make one with `open_batch`.

    Every method that reads raises BadInput if the file has changed since, is cut short or cannot be read.
    """

    npz: NpzFile = field(repr=False)
    path: Path
    resolution: int
    rows: int
    members: Mapping[str, NpzMember]
    """`data`, `labels` and, if the file has one, `mean`."""
    ignored_members: tuple[str, ...]

    @property
    def row_bytes(self) -> int:
        return 3 * self.resolution**2

    @property
    def stored(self) -> bool:
        """Whether the pixels lie in the file as they are, so that `images` can map them."""
        return self.members["data"].stored

    def blocks(self, rows: int | None = None, *, verify: bool = True) -> Iterator[NDArray[np.uint8]]:
        """All images in order, as uint8 (n, 3 × resolution²) with n = `rows` but in the last (default: about 1 MiB).

        Every block is a view of the same buffer: copy what must outlive the next step. Peak memory is one block and
        about 1 MiB, whatever the batch. With `verify`, the member's CRC-32 is known before the last block is given.
        """
        rows = max(1, _BLOCK // self.row_bytes) if rows is None else rows
        if rows < 1:
            raise ValueError(f"rows must be at least 1, not {rows}")
        member = self.members["data"]
        buffer = np.empty((min(rows, self.rows), self.row_bytes), np.uint8)
        with self._array(member, verify=verify) as stream:
            for start in range(0, self.rows, rows):
                block = buffer[: self.rows - start]
                stream.readinto(block.reshape(-1).data)
                yield block

    def labels(self) -> NDArray[np.int64]:
        """int64 (rows,), each 1..1000; BadInput names the first row that is not, or says that the CRC-32 is wrong."""
        labels = self._whole(self.members["labels"])
        wrong = np.flatnonzero((labels < 1) | (labels > CLASSES))
        if len(wrong):
            hint = "; labels counted from 0 need 1 added" if not labels.min() else ""
            raise BadInput(
                f"{self.path}: labels must be 1..{CLASSES}, but row {wrong[0]} has {labels[wrong[0]]} "
                f"({len(wrong):,} of {self.rows:,} rows are out of range){hint}"
            )
        return labels.astype(np.int64)

    def mean(self) -> NDArray[np.float64] | None:
        """float64 (3 × resolution²,), or None where the batch declares none; BadInput if a value is not finite."""
        if "mean" not in self.members:
            return None
        mean = self._whole(self.members["mean"]).astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(mean))
        if len(wrong):
            raise BadInput(f"{self.path}: mean must be finite, but value {wrong[0]} is {mean[wrong[0]]}")
        return mean

    @property
    def images(self) -> np.memmap[Any, np.dtype[np.uint8]]:
        """The pixels in place, read-only, (rows, 3 × resolution²): no copy, no CRC-32 check. Stored batches only."""
        offset = self.members["data"].data_offset
        if offset is None:
            raise BadInput(f"{self.path}: data is deflated and cannot be mapped; use blocks() or take()")
        with self.npz.reading() as fd, os.fdopen(fd, "rb", closefd=False) as file:
            return np.memmap(file, np.uint8, "r", offset, (self.rows, self.row_bytes))

    def take(self, indices: ArrayLike, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Rows `indices` (0..rows-1, any order, repeats allowed): uint8 (len(indices), 3 × resolution²), or `out`.

        Stored: only those rows are read. Deflated: one pass up to the largest index, so ask for all rows in one call.
        The CRC-32 is not checked, as that needs every byte: `inspect` once before.
        """
        index = np.asarray(indices)
        if index.size == 0:
            index = index.astype(np.int64)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise ValueError(f"indices must be a list of integers, not {index.dtype} {index.shape}")
        if len(index) and not (index.min() >= 0 and index.max() < self.rows):
            raise IndexError(f"{self.path}: indices {index.min()}..{index.max()} leave the rows 0..{self.rows - 1}")
        shape = (len(index), self.row_bytes)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"out must be uint8 {shape} in C order, not {out.dtype} {out.shape}")
        index = index.astype(np.int64)
        if len(index):
            (self._take_stored if self.stored else self._take_deflated)(index, out)
        return out

    def _take_stored(self, index: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        data, width, target = self.members["data"].data_offset or 0, self.row_bytes, out.reshape(-1).data
        bounds = [0, *(np.flatnonzero(np.diff(index) != 1) + 1).tolist(), len(index)]  # neighbours in one read
        firsts = index[bounds[:-1]].tolist()
        with self.npz.reading() as fd:
            for first, start, stop in zip(firsts, bounds, bounds[1:], strict=False):
                read_at(self.path, fd, data + first * width, target[start * width : stop * width])

    def _take_deflated(self, index: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        order = np.argsort(index, kind="stable")
        ascending, start, done = index[order], 0, 0
        for block in self.blocks(verify=False):
            stop = int(np.searchsorted(ascending, start + len(block)))
            out[order[done:stop]] = block[ascending[done:stop] - start]
            start, done = start + len(block), stop
            if done == len(index):
                return

    def place(self, row: int, file: str) -> Place:
        """Where a row's pixels lie; `file` is what to call the batch."""
        member = self.members["data"]
        if member.data_offset is None:
            return Place(file, self.row_bytes, None, "data.npy", lambda: self.take([row]).tobytes())
        return slice_of(self.path, file, member.data_offset + row * self.row_bytes, self.row_bytes, "data.npy")

    @contextmanager
    def _array(self, member: NpzMember, *, verify: bool = True) -> Iterator[Stream]:
        """The member's bytes from the array's first."""
        with self.npz.reading() as fd:
            stream = Stream(self.path, fd, member, verify=verify)
            stream.readinto(memoryview(bytearray(member.header_bytes)))
            yield stream

    def _whole(self, member: NpzMember) -> NDArray[Any]:
        array = np.empty(member.shape, member.dtype)
        with self._array(member) as stream:
            stream.readinto(array.view(np.uint8).data)
        return array

    def inspect(self, progress: Callable[[int], None] | None = None) -> Inspection:
        """Read everything once; `progress` is told of the bytes of every block, about 1 MiB."""
        labels, declared = self.labels(), self.mean()
        statistics, neighbours = PixelStatistics(self.resolution), Neighbours(self.resolution)
        for block in self.blocks():
            statistics.add(block)
            neighbours.add(block)
            if progress is not None:
                progress(block.nbytes)
        sums = statistics.pixel_sums()
        return Inspection(
            file=self.path.name,
            resolution=self.resolution,
            rows=self.rows,
            class_counts=tuple(np.bincount(labels - 1, minlength=CLASSES).tolist()),
            label_min=int(labels.min()),
            label_max=int(labels.max()),
            channels=statistics.channels(),
            mean_difference=None if declared is None else float(np.abs(sums / self.rows - declared).max()),
            members=tuple(self.members.values()),
            ignored_members=self.ignored_members,
            pixel_sums=sums,
            warning=neighbours.warning(),
        )


def open_batch(
    path: str | os.PathLike[str],
    *,
    resolution: int = 64,
    max_bytes: int = MAX_BYTES,
    max_ratio: float = MAX_RATIO,
) -> NpzBatch:
    """Check all that the headers of `path` can tell, in milliseconds whatever its size; no content is read.

    Raises BadInput for what `open_npz` refuses and for arrays that are not the layout above. `max_bytes` and
    `max_ratio` bound what a member may declare and how far it may expand.
    """
    if resolution not in RESOLUTIONS:
        raise BadInput(f"resolution must be one of {', '.join(map(str, RESOLUTIONS))}, not {resolution}")
    npz = open_npz(path, max_bytes=max_bytes, max_ratio=max_ratio)
    names = {f"{key}.npy": key for key in ("data", "labels", "mean")}
    for name in ("data.npy", "labels.npy"):
        if name not in npz.entries:
            raise BadInput(f"{npz.path} has no member {name}; expected data.npy, labels.npy and maybe mean.npy")
    members = {key: npz.npy(name) for name, key in names.items() if name in npz.entries}
    rows = _check_data(npz.path, members["data"], resolution)
    _check_labels(npz.path, members["labels"], rows)
    if "mean" in members:
        _check_mean(npz.path, members["mean"], 3 * resolution**2)
    ignored = tuple(name for name in npz.entries if name not in names)
    return NpzBatch(npz, npz.path, resolution, rows, members, ignored)


def told_rows(path: str | os.PathLike[str], resolution: int) -> int:
    """Rows of a batch that `open_batch` refuses, by the headers in it that are whole: those of a file that was cut are.

    Raises BadInput if they do not tell, or contradict each other.
    """
    npz = torn_npz(path)
    if "data.npy" not in npz.entries:
        raise BadInput(f"{npz.path} does not tell how many rows it has")
    rows = _check_data(npz.path, npz.npy("data.npy"), resolution)
    if "labels.npy" in npz.entries:
        try:
            labels = npz.npy("labels.npy")
        except BadInput:  # cut in the middle of it
            return rows
        _check_labels(npz.path, labels, rows)
    return rows


def _check_data(path: Path, data: NpzMember, resolution: int) -> int:
    width = 3 * resolution**2
    found = f"{path}: data is {data.dtype} {data.shape}"
    if data.dtype != np.uint8:
        raise BadInput(f"{found}; expected uint8 (rows, {width})")
    if len(data.shape) != 2:
        raise BadInput(f"{found}; expected two dimensions, (rows, {width}): reshape it to (rows, -1)")
    if data.shape[1] != width:
        side = math.isqrt(data.shape[1] // 3)
        fits = 3 * side**2 == data.shape[1] and side in RESOLUTIONS
        hint = f"; these are {side}×{side} images: set resolution to {side}" if fits else ""
        raise BadInput(f"{found}; expected {width} columns at resolution {resolution}{hint}")
    if data.fortran_order:
        raise BadInput(f"{found} in Fortran (column) order; save np.ascontiguousarray(data)")
    if not data.shape[0]:
        raise BadInput(f"{found}; expected at least one row")
    return data.shape[0]


def _check_labels(path: Path, labels: NpzMember, rows: int) -> None:
    found = f"{path}: labels are {labels.dtype} {labels.shape}"
    if labels.dtype.kind not in "iu":
        raise BadInput(f"{found}; expected integers 1..{CLASSES}")
    if len(labels.shape) != 1:
        raise BadInput(f"{found}; expected one dimension, ({rows},)")
    if labels.shape != (rows,):
        raise BadInput(f"{path} has {rows:,} rows of data but {labels.shape[0]:,} labels; expected one label a row")


def _check_mean(path: Path, mean: NpzMember, width: int) -> None:
    if mean.dtype.newbyteorder("=") != np.float64 or mean.shape != (width,):
        raise BadInput(f"{path}: mean is {mean.dtype} {mean.shape}; expected float64 ({width},), or no mean at all")

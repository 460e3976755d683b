"""Where the rows of a shard lie in its files: what a format's reader knows, and all that fetching needs.

Every format that keeps rows as plain bytes comes down to byte positions, so one fetch serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Column

Index = NDArray[np.int64]


class StoreFiles(Protocol):
    """The files of a store, local or remote, read at random."""

    def open(self, name: str) -> IO[bytes]:
        """A seekable file."""
        ...

    def path(self, name: str) -> Path | None:
        """Its place on this machine; None if it is elsewhere."""
        ...

    def mapped(self, name: str) -> AbstractContextManager[memoryview | None]:
        """The whole file, uncopied, within `with`; None if it is not mapped. A cut is a StoreError at its end."""
        ...


@dataclass(frozen=True)
class Runs:
    """Rows of one size, evenly spaced within each run: row `starts[k] + j` begins at `offsets[k] + j * strides[k]`."""

    file: str
    starts: Index
    offsets: Index
    strides: Index


@dataclass(frozen=True)
class Spans:
    """Rows of any size: row i is `sizes[i]` bytes at `offsets[i]`."""

    file: str
    offsets: Index
    sizes: Index


@dataclass(frozen=True)
class Values:
    """Rows that are read whole: numbers, one per row."""

    file: str
    load: Callable[[], NDArray[np.generic]]


@dataclass(frozen=True)
class Blocks:
    """Rows that are decoded together: block k holds the rows from `starts[k]` on."""

    file: str
    starts: Index
    load: Callable[[int], Column]


Extent = Runs | Spans | Values | Blocks


def one_run(file: str, offset: int, stride: int) -> Runs:
    """All rows of a shard in one run."""
    return Runs(file, *(np.array([value], np.int64) for value in (0, offset, stride)))


def lies_within(extent: Runs | Spans, rows: int, size: int, nbytes: int | None) -> bool:
    """Whether all rows lie in a file of `size` bytes: of `nbytes` each, or of any size (None).

    Compared so that no sum overflows: what is let through is read without another look.
    """
    if isinstance(extent, Spans):
        if len(extent.offsets) != rows or not _between(0, extent.sizes, size):
            return False
        alike = nbytes is None or bool((extent.sizes == nbytes).all())
        return alike and _between(0, extent.offsets, size - extent.sizes)
    steps = np.maximum(np.diff([*extent.starts, rows]) - 1, 0)
    if nbytes is None or not _between(0, extent.offsets, size) or not _between(-size, extent.strides, size):
        return False
    if (steps[extent.strides != 0] > size // np.abs(extent.strides[extent.strides != 0])).any():
        return False
    last = extent.offsets + steps * extent.strides
    return _between(0, extent.offsets, size - nbytes) and _between(0, last, size - nbytes)


def _between(low: int, values: Index, high: int | Index) -> bool:
    return bool(((values >= low) & (values <= high)).all())


def numbered(indices: Any, length: int) -> Index:
    """Rows as numbers from 0; negative ones count from the end of `length` rows.

    Raises:
        TypeError: they are no whole numbers.
        IndexError: one is out of range.
    """
    rows = np.asarray(indices)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):  # a mask or 1.5 would be taken for other rows
        raise TypeError(f"rows are asked for by whole numbers, or a list of them, not by {indices!r:.100}")
    if rows.size and (rows.min() < -length or rows.max() >= length):
        raise IndexError(f"index {rows.min()}..{rows.max()} is out of range for {length} rows")
    rows = rows.astype(np.int64, copy=False)
    return np.where(rows < 0, rows + length, rows) if rows.size and rows.min() < 0 else rows

"""Where the rows of a shard lie in its files: what a format's reader knows, and all that fetching needs.

Every format that keeps rows as plain bytes comes down to byte positions, so one fetch serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

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

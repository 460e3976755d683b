"""All files of a store as one range of byte positions, read at random: mapped where they are local, fetched where not.

A gather is one call of `torch.index_select` on a view of the mapped range in which "row" p is the bytes from position p
on (strides 1, 1), or, of many bytes by a thread alone, of `streaming.copy_rows`. Both copy at the speed of memory
without the interpreter's lock, and neither the number of shards nor headers between rows matter to them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import StoreError
from imgassets.mapping.files import Mapped, starts_of
from imgassets.stores.ahead import Read, pieces
from imgassets.stores.extents import Index
from imgassets.stores.streaming import LEAST, LINE, copy_rows

if TYPE_CHECKING:
    import torch

GAP = 64 << 10
"""Bytes between two pieces of a remote file that are sooner read than asked around: some 1 ms, a request takes 20."""
CONNECTIONS = 16
"""Requests at a time, where fsspec's file system has no number of its own."""


class Bytes(Protocol):
    """Random access to a range of byte positions."""

    def piece(self, position: int, size: int) -> memoryview:
        """The bytes at one position."""
        ...

    def gather(self, positions: Index, out: torch.Tensor) -> None:
        """Fill row i of `out`, uint8 (rows, nbytes) contiguous, with the bytes from `positions[i]` on."""
        ...

    def pieces(self, positions: Index, sizes: Index) -> Sequence[memoryview]:
        """The bytes at each position, uncopied where the files are mapped."""
        ...

    def copies(self, positions: Index, sizes: Index) -> Sequence[memoryview]:
        """The same in memory of this process."""
        ...


class LocalFiles:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str) -> IO[bytes]:
        """A seekable file."""
        return open(self._folder / name, "rb")

    def path(self, name: str) -> Path | None:
        """Its place."""
        return self._folder / name

    def mapped(self, name: str) -> AbstractContextManager[memoryview | None]:
        """It is not."""
        return nullcontext()


class Local(LocalFiles):
    """Files of this machine, mapped. One that was cut, before or while it is copied, is an error that names it."""

    def __init__(self, folder: Path, names: Sequence[str], sizes: Sequence[int]) -> None:
        super().__init__(folder)
        self._mapped = Mapped([folder / name for name in names], sizes)
        self._places = dict(zip(names, zip(starts_of(sizes).tolist(), sizes, strict=True), strict=True))
        self._view = self._mapped.bytes.data
        self._views: dict[int, torch.Tensor] = {}

    @contextmanager
    def mapped(self, name: str) -> Iterator[memoryview]:
        """A whole file, uncopied; watched meanwhile."""
        with self._mapped.watched():
            yield self.piece(*self._places[name])

    def gather(self, positions: Index, out: torch.Tensor) -> None:
        """Fill row i of `out` with the bytes from `positions[i]` on; the caller vouches for the positions."""
        import torch

        nbytes, place = out.shape[1], out.data_ptr()
        with self._mapped.watched():
            if out.numel() < LEAST or nbytes % LINE or place % LINE or torch.get_num_threads() > 1:
                torch.index_select(self._rows(nbytes), 0, torch.from_numpy(positions), out=out)
            else:
                positions = np.ascontiguousarray(positions, np.int64)
                copy_rows(self._mapped.base, positions.ctypes.data, len(positions), nbytes, place)

    def copies(self, positions: Index, sizes: Index) -> Sequence[memoryview]:
        """The bytes at each position."""
        view, places = self._view, zip(positions.tolist(), sizes.tolist(), strict=True)
        with self._mapped.watched():
            return [memoryview(bytes(view[p : p + n])) for p, n in places]

    def pieces(self, positions: Index, sizes: Index) -> Sequence[memoryview]:
        """The bytes at each position, uncopied."""
        view = self._view
        with self._mapped.watched():
            return [view[p : p + n] for p, n in zip(positions.tolist(), sizes.tolist(), strict=True)]

    def ahead(self, positions: Index, sizes: Index | int) -> list[Read]:
        """Calls that each have some of the bytes read; none where they are in memory."""
        return pieces(self._mapped, positions, sizes)

    def piece(self, position: int, size: int) -> memoryview:
        """The bytes at one position, uncopied, and nothing looked at: that would take longer than all the rest."""
        return self._view[position : position + size]

    def _rows(self, nbytes: int) -> torch.Tensor:
        if nbytes not in self._views:
            import torch

            # torch knows no read-only memory; this view never leaves the object, and gathers only read it
            whole = torch.from_numpy(np.asarray(_Writable(self._mapped.bytes)))
            self._views[nbytes] = whole.as_strided((len(whole) - nbytes + 1, nbytes), (1, 1))
        return self._views[nbytes]


class _Writable:
    """The same memory without the read-only mark; keeps the mapping alive."""

    def __init__(self, keep: NDArray[np.uint8]) -> None:
        interface = keep.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
        self.keep = keep


class Remote:
    """Files behind an fsspec file system: a gather asks once for every run of neighbouring bytes, many at a time."""

    def __init__(self, files: RemoteFiles, names: Sequence[str], sizes: Sequence[int]) -> None:
        self._files, self._names = files, names
        self._starts = starts_of(sizes)

    def gather(self, positions: Index, out: torch.Tensor) -> None:
        """As `Mapped.gather`."""
        target = out.numpy()
        sizes = np.full(len(positions), out.shape[1], np.int64)
        for row, data in zip(target, self.pieces(positions, sizes), strict=True):
            row[:] = np.frombuffer(data, np.uint8)

    def piece(self, position: int, size: int) -> memoryview:
        """The bytes at one position."""
        return self.pieces(np.array([position]), np.array([size]))[0]

    def pieces(self, positions: Index, sizes: Index) -> Sequence[memoryview]:
        """The bytes at each position.

        Raises:
            StoreError: the server sent fewer.
        """
        if not len(positions):
            return []
        order = np.argsort(positions, kind="stable")
        begins, file = positions[order], np.searchsorted(self._starts, positions[order], side="right") - 1
        ends = np.maximum.accumulate(begins + sizes[order])
        apart = (begins[1:] > ends[:-1] + GAP) | (file[1:] != file[:-1])
        first = np.concatenate([[0], np.flatnonzero(apart) + 1])
        last = np.concatenate([first[1:], [len(order)]]) - 1
        base = self._starts[file[first]]
        names = [self._names[k] for k in file[first].tolist()]
        runs = self._files.ranges(names, (begins[first] - base).tolist(), (ends[last] - base).tolist())
        found: list[memoryview] = [memoryview(b"")] * len(order)
        run = np.repeat(np.arange(len(first)), last - first + 1)
        places = zip(order.tolist(), run.tolist(), (begins - begins[first][run]).tolist(), strict=True)
        for index, k, at in places:
            found[index] = memoryview(runs[k])[at : at + int(sizes[index])]
        return found

    copies = pieces


class RemoteFiles:
    """A folder behind an fsspec URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process = -1

    def open(self, name: str) -> IO[bytes]:
        """A seekable file."""
        fs, root = self._system()
        file: IO[bytes] = fs.open(f"{root}/{name}", "rb")
        return file

    def path(self, name: str) -> Path | None:
        """It has none on this machine."""
        return None

    def mapped(self, name: str) -> AbstractContextManager[memoryview | None]:
        """It is not."""
        return nullcontext()

    def ranges(self, names: Sequence[str], begins: Sequence[int], ends: Sequence[int]) -> Sequence[bytes]:
        """Bytes `begins[k]` to `ends[k]` (exclusive) of each file.

        Raises:
            StoreError: the server sent fewer.
        """
        fs, root = self._system()
        paths = [f"{root}/{name}" for name in names]
        if fs.async_impl:
            found: Sequence[bytes] = fs.cat_ranges(paths, list(begins), list(ends), on_error="raise")
        else:  # it would ask for one after the other, and read ahead what nobody wants

            def fetch(path: str, begin: int, end: int) -> bytes:
                data: bytes = fs.cat_file(path, begin, end, cache_type="none")
                return data

            with ThreadPoolExecutor(CONNECTIONS) as pool:
                found = list(pool.map(fetch, paths, begins, ends))
        for path, data, begin, end in zip(paths, found, begins, ends, strict=True):
            if len(data) != end - begin:
                raise StoreError(
                    f"{path}: got {len(data)} bytes instead of {end - begin}; try again, or verify the store."
                )
        return found

    def _system(self) -> tuple[Any, str]:
        if self._process != os.getpid():  # connections do not outlive a fork
            import fsspec

            self._found: tuple[Any, str] = fsspec.core.url_to_fs(self._url)
            self._process = os.getpid()
        return self._found

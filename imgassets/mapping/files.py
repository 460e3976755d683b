"""Files of this machine in one contiguous range of addresses."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import StoreError
from imgassets.mapping import faults


def starts_of(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Position at which each file begins: files are laid end to end, each rounded up to whole pages."""
    pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
    return np.cumsum([0, *pages[:-1]], dtype=np.int64)


class Mapped:
    """Files in one contiguous reservation of addresses, read-only; no file stays open.

    Every process that forks shares the mapping and no file offset, so readers cannot disturb each other. It goes when
    this object and all that was made of `bytes` have gone.

    Raises:
        StoreError: a file has another size than it should.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int]) -> None:
        self._paths, self._sizes, self._starts = paths, sizes, starts_of(sizes)
        reserved = _Reserved(int(self._starts[-1]) + sizes[-1] if sizes else 0)
        marks = []
        try:
            for path, size, start in zip(paths, sizes, self._starts.tolist(), strict=True):
                if size:
                    last, value = reserved.put(path, size, start)
                    marks.append((start + last, value))
        except BaseException:
            reserved.release()  # the error's traceback may be kept
            raise
        self._marks, self._marked = np.array([m for m, _ in marks], np.int64), bytes(value for _, value in marks)
        self._libc = reserved.libc
        self.base = reserved.base
        """Address of the first byte; valid as long as something refers to `bytes`."""
        self.bytes: NDArray[np.uint8] = np.asarray(reserved)
        """All positions, (length,), read-only."""
        lost = np.zeros(1, np.int64)
        self._lost = lost.data
        """Address of a page that was lost."""
        self._entry = np.array([self.base, self.base + reserved.length, lost.ctypes.data], np.int64)

    def watched(self) -> Watch:
        """While bytes are copied, within `with`: a file that is cut meanwhile, or was before, is an error at its end.

        Raises:
            StoreError: names the file.
        """
        return Watch(self)

    def resident(self, positions: NDArray[np.int64]) -> bool:
        """Whether the pages at all these positions lie in memory, as far as the system tells."""
        page, found = ctypes.c_uint8(), True
        for at in (positions // mmap.PAGESIZE * mmap.PAGESIZE).tolist():
            found = self._libc.mincore(self.base + at, 1, ctypes.byref(page)) != 0 or bool(page.value & 1)
            if not found:
                break
        return found

    def read_ahead(self, begin: int, end: int) -> None:
        """Have the system read these bytes, a few MB at most, while others go on; it may decline."""
        first = begin // mmap.PAGESIZE * mmap.PAGESIZE
        self._libc.madvise(self.base + first, end - first, mmap.MADV_WILLNEED)

    def start(self, file: int) -> int:
        """Position at which a file begins."""
        return int(self._starts[file])

    def cut(self) -> StoreError | None:
        """The error to tell of a file that has lost bytes since it was opened; to be asked for while watched.

        A cut fills the page it falls into with zeros and takes all later ones away, so the last byte of a file's last
        page that is not zero tells of every cut that changes anything.
        """
        found = self.bytes[self._marks].tobytes()
        if found == self._marked and not self._lost[0]:
            return None
        if self._lost[0]:
            at = self._lost[0] - self.base
        else:
            at = next(int(m) for m, now, was in zip(self._marks, found, self._marked, strict=True) if now != was)
        file = int(np.searchsorted(self._starts, at, side="right")) - 1
        return cut_error(self._paths[file], self._sizes[file])


def cut_error(path: Path, size: int) -> StoreError:
    """What to tell of a file of `size` bytes that lost some while it was open."""
    try:
        now = f"has {path.stat().st_size} bytes"
    except OSError as error:
        now = f"cannot be read ({error.strerror})"
    return StoreError(
        f"{path} was cut or written over while it was open: it had {size} bytes and {now} now; put it back or rebuild "
        f"the store, then open it anew."
    )


class Watch:
    """See `Mapped.watched`."""

    __slots__ = ("_mapped", "_slot")

    def __init__(self, mapped: Mapped) -> None:
        self._mapped = mapped

    def __enter__(self) -> None:
        self._slot = faults.watch(self._mapped._entry)

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            cut = self._mapped.cut() if error is None or isinstance(error, Exception) else None
        finally:
            faults.leave(self._slot)
        if cut is not None:
            raise cut from error


class _Reserved:
    """Addresses that are given back with the last array on them: arrays know this object, and it knows none of them."""

    def __init__(self, length: int) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.mmap.restype = ctypes.c_void_p
        self.libc.mmap.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_long,
        ]
        self.libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self.libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        self.base, self.length = 0, length
        self.base = self._map(None, max(length, 1), 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"data": (self.base, True), "shape": (self.length,), "typestr": "|u1", "version": 3}

    def put(self, path: Path, size: int, start: int) -> tuple[int, int]:
        """Map a file; returns place and value of the last byte of its last page that is not zero, or the very last."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be opened ({error}): rebuild the store.") from error
        try:
            if (found := os.fstat(fd).st_size) != size:
                raise StoreError(f"{path} has {found} bytes, the store says {size}: rebuild the store.")
            self._map(self.base + start, size, mmap.PROT_READ, mmap.MAP_SHARED | faults.MAP_FIXED, fd)
            page = (size - 1) // mmap.PAGESIZE * mmap.PAGESIZE
            end = os.pread(fd, size - page, page)
        finally:
            os.close(fd)
        if len(end) < size - page:
            raise cut_error(path, size)
        last = len(end.rstrip(b"\0")) or len(end)
        return page + last - 1, end[last - 1]

    def release(self) -> None:
        """Give the addresses back."""
        base, self.base = self.base, 0
        if base:
            self.libc.munmap(base, max(self.length, 1))

    def __del__(self) -> None:
        if getattr(self, "base", 0):
            self.release()

    def _map(self, address: int | None, length: int, protection: int, flags: int, fd: int) -> int:
        found = self.libc.mmap(address, length, protection, flags, fd, 0)
        if found is None or found == ctypes.c_void_p(-1).value:
            code = ctypes.get_errno()
            raise StoreError(f"Cannot map {length} bytes: {os.strerror(code)}.")
        return int(found)

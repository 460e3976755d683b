"""One file being written: counted and checksummed, and never finished after an error."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from imgassets.commit.checksum import digest_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

GATHER = 1 << 16
SLICE = 1 << 20
"""Large buffers go out in slices that are still in the processor's cache when they are checksummed."""

BEGUN = 8 << 20
"""Bytes after which the disk is set to work, so that there is little left to wait for at the end."""
WRITE = 2
"""`SYNC_FILE_RANGE_WRITE` of `linux/fs.h`."""

_libc = ctypes.CDLL(None)


class _File:
    """A new file that cannot be finished once anything has failed.

    The first error stays, and every further call raises it again: a library in between may have dropped it, or made
    another one of it. `observe` is told of every number of bytes that went out.
    """

    def __init__(self, path: Path, observe: Callable[[int], None] | None = None) -> None:
        self._path, self._observe = path, observe
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self._error: BaseException | None = None
        self._bytes = 0
        self._idle = 0  # bytes that the disk has not been told of

    def check(self) -> None:
        """Raise the first error again, if there was one."""
        if self._error is not None:
            raise self._error

    def tell(self) -> int:
        """Bytes written so far."""
        return self._bytes

    def abandon(self) -> None:
        """Close without a promise about the bytes."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        self.check()
        try:
            yield
        except BaseException as error:
            if isinstance(error, OSError):
                error.filename = error.filename or str(self._path)
            self._error = error
            raise

    def _written(self, count: int) -> None:
        if self._observe:
            self._observe(count)
        self._idle += count
        if self._idle >= BEGUN:
            begin_writing(self._fd)
            self._idle = 0


class Sink(_File):
    """A new file, written from front to back.

    Small writes are gathered into one system call; large ones pass through uncopied. `close()` makes the
    bytes durable (fsync); only then do `tell()` and `digest()` describe what is on disk.
    """

    def __init__(self, path: Path, observe: Callable[[int], None] | None = None) -> None:
        super().__init__(path, observe)
        self._digest = xxhash.xxh3_128()
        self._pending = bytearray()

    def write(self, data: Buffer) -> int:
        """Append any contiguous buffer; returns its length in bytes."""
        self.check()
        view = memoryview(data)
        if not view.nbytes:  # an empty array cannot be cast
            return 0
        view = view.cast("B")
        if len(view) + len(self._pending) < GATHER:
            self._pending += view
        else:
            self._flush()
            self._put(view)
        self._bytes += len(view)
        return len(view)

    def writev(self, buffers: Sequence[Buffer]) -> int:
        """Append several buffers in order; returns their total length in bytes."""
        return sum(self.write(buffer) for buffer in buffers)

    def digest(self) -> str:
        """Hexadecimal XXH3-128 of everything written; complete after `close()`."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Write what is gathered and wait until the file's bytes are on disk."""
        try:
            self._flush()
            with self._remembering():
                os.fsync(self._fd)
        finally:
            self.abandon()

    def _flush(self) -> None:
        if self._pending:
            self._put(memoryview(self._pending))
            self._pending = bytearray()

    def _put(self, view: memoryview) -> None:
        with self._remembering():
            for start in range(0, len(view), SLICE):
                part = view[start : start + SLICE]
                count = len(part)
                self._digest.update(part)
                while part:
                    part = part[os.write(self._fd, part) :]
                self._written(count)


class ScatterSink(_File):
    """A new file whose parts are written at their places in any order, each byte once; read again for its checksum."""

    _digest = ""

    def put(self, data: Buffer, at: int) -> None:
        """Write any contiguous buffer from byte `at` on."""
        with self._remembering():
            view = memoryview(data)
            if not view.nbytes:
                return
            left = view.cast("B")
            while left:
                count = os.pwrite(self._fd, left, at)
                left, at = left[count:], at + count
            self._bytes += view.nbytes
            self._written(view.nbytes)

    def digest(self) -> str:
        """Hexadecimal XXH3-128 of the whole file; known after `close()`."""
        return self._digest

    def close(self) -> None:
        """Checksum the file and wait until its bytes are on disk."""
        try:
            with self._remembering():
                begin_writing(self._fd)  # meanwhile the bytes are read from memory
                self._digest = digest_of(self._path)
                os.fsync(self._fd)
        finally:
            self.abandon()


def begin_writing(fd: int) -> None:
    """Ask the kernel to begin with what it has not written to the disk of a file; to wait for it is fsync's part."""
    if hasattr(_libc, "sync_file_range"):  # Linux
        _libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), WRITE)


def write_durably(path: Path, data: bytes) -> None:
    """Write a whole new file and wait until its bytes are on disk."""
    sink = Sink(path)
    try:
        sink.write(data)
        sink.close()
    finally:
        sink.abandon()


def append_durably(path: Path, data: bytes) -> None:
    """Add to a file that is there and wait until its bytes are on disk."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)

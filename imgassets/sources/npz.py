"""The NPZ container: a zip of .npy members, checked from its headers and streamed in bounded memory.

`np.load` trusts the headers (a member may expand to anything), loads whole members and says little about what is wrong.
Here everything the headers can tell is checked before any content is read or memory allocated for it, and content is
read in small pieces whose CRC-32 is computed while they are in the processor's cache.
Layout of npy: NEP 1.
"""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.lib.format as npy
from isal import igzip_lib, isal_zlib

from imgassets.errors import BadInput
from imgassets.sources.zip_directory import MAX_BYTES, MAX_RATIO, Entry, leading_entries, read_directory

PIECE = 256 << 10
"""Bytes read, inflated and checksummed at a time: what stays in a level 2 cache; larger and smaller were slower."""

_MAX_NPY_HEADER = 10_000  # numpy's own default for max_header_size


@dataclass(frozen=True)
class NpzMember(Entry):
    """One .npy member. `bytes` and `crc` cover the whole of it: `header_bytes` of npy header, then the array."""

    header_bytes: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran_order: bool

    @property
    def data_offset(self) -> int | None:
        """Offset in the file of the array's first byte; None for a deflated member, which has no such place."""
        return self.offset + self.header_bytes if self.stored else None


@dataclass(frozen=True)
class NpzFile:
    """A checked zip directory. Make one with `open_npz`; it holds no open file."""

    path: Path
    entries: dict[str, Entry]
    identity: tuple[int, ...] = field(repr=False)

    @contextmanager
    def reading(self) -> Iterator[int]:
        """A file descriptor for `os.pread`; BadInput if the file is no longer the one whose headers were checked."""
        with _opened(self.path) as (fd, identity):
            if identity != self.identity:
                raise BadInput(f"{self.path} changed while it was being read; run again when nothing writes to it")
            yield fd

    def npy(self, name: str) -> NpzMember:
        """The header of member `name` (which must be in `entries`).

        Raises BadInput if it is no .npy, holds pickled objects, or declares another size than the member has.
        """
        entry, where = self.entries[name], f"{self.path}: member {name}"
        with self.reading() as fd:
            head = bytearray(min(entry.bytes, 12 + _MAX_NPY_HEADER))
            Stream(self.path, fd, entry, verify=False).readinto(memoryview(head))
        file = io.BytesIO(head)
        try:
            version = npy.read_magic(file)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, fortran_order, dtype = read(file, max_header_size=_MAX_NPY_HEADER)
            shape = tuple(int(n) for n in shape)
            if len(shape) > 32 or not all(0 <= n < 1 << 63 for n in shape):
                raise ValueError("an impossible shape")
        except Exception as error:  # numpy parses a Python literal here: a hostile one raises nearly anything
            raise BadInput(
                f"{where} does not begin with a readable .npy header ({error or type(error).__name__})"
            ) from error
        if dtype.hasobject:
            raise BadInput(f"{where} holds pickled Python objects, which are never loaded; save it as a plain array")
        declared, held = math.prod(shape) * dtype.itemsize, entry.bytes - file.tell()
        if declared != held:
            raise BadInput(
                f"{where} declares {dtype} {shape}, {declared:,} bytes, but holds {held:,}: damaged or forged"
            )
        return NpzMember(**vars(entry), header_bytes=file.tell(), dtype=dtype, shape=shape, fortran_order=fortran_order)


def read_at(path: Path, fd: int, offset: int, out: memoryview) -> None:
    """Fill `out` with the bytes of the file from `offset`; BadInput where the file ends before or cannot be read."""
    try:
        got = os.preadv(fd, (out,), offset)
        while 0 < got < len(out):  # one call reads at most 2 GiB
            out, offset = out[got:], offset + got
            got = os.preadv(fd, (out,), offset)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    if got < len(out):
        raise BadInput(f"{path} ends at byte {offset:,}, before its content does; copy or download it again")


class Stream:
    """The unpacked bytes of one member from its first, in order.

    fd: a descriptor from `NpzFile.reading`. verify: compute the CRC-32 and compare it when the last byte is read.
    """

    def __init__(self, path: Path, fd: int, entry: Entry, *, verify: bool = True) -> None:
        self._path, self._fd, self._entry, self._verify = path, fd, entry, verify
        self._position, self._left, self._crc = 0, entry.bytes, 0
        self._inflater = None if entry.stored else igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)

    def readinto(self, out: memoryview) -> None:
        """Fill `out`, a contiguous view of bytes. Raises BadInput where the member is cut, damaged or fails its CRC."""
        if len(out) > self._left:
            raise ValueError(f"{len(out)} bytes wanted, {self._left} left")
        while out:
            piece = out[:PIECE]
            got = self._copy(piece) if self._inflater is None else self._inflate(piece)
            if self._verify:
                self._crc = isal_zlib.crc32(piece[:got], self._crc)
            self._left -= got
            out = out[got:]
        if self._left == 0 and self._verify:
            self._finish()

    def _copy(self, out: memoryview) -> int:
        read_at(self._path, self._fd, self._entry.offset + self._position, out)
        self._position += len(out)
        return len(out)

    def _inflate(self, out: memoryview) -> int:
        assert self._inflater is not None
        while not self._inflater.eof:
            if piece := self._inflated(self._inflater, len(out)):
                out[: len(piece)] = piece
                return len(piece)
        raise self._bad(f"inflates to fewer than the {self._entry.bytes:,} bytes the zip declares")

    def _inflated(self, inflater: igzip_lib.IgzipDecompressor, most: int) -> bytes:
        packed = self._packed() if inflater.needs_input else b""
        try:
            piece: bytes = inflater.decompress(packed, most)
            return piece
        except igzip_lib.error as error:  # type: ignore[misc]  # its stub declares an instance
            raise self._bad(f"cannot be inflated ({error}); copy or download the file again") from error

    def _packed(self) -> bytes:
        left = self._entry.packed_bytes - self._position
        if not left:
            raise self._bad("ends in the middle of its deflate stream; copy or download the file again")
        buffer = bytearray(min(PIECE, left))
        self._copy(memoryview(buffer))
        return bytes(buffer)

    def _finish(self) -> None:
        if self._inflater is not None:
            while not self._inflater.eof:  # the mark that ends the stream may still be unread
                if self._inflated(self._inflater, 1):
                    raise self._bad(f"inflates to more than the {self._entry.bytes:,} bytes the zip declares")
            if self._inflater.unused_data or self._position != self._entry.packed_bytes:
                raise self._bad("has bytes after the end of its deflate stream")
        if self._crc != self._entry.crc:
            raise self._bad(
                f"is damaged: its CRC-32 is {self._crc:08x}, the zip says {self._entry.crc:08x}; "
                "copy or download the file again"
            )

    def _bad(self, what: str) -> BadInput:
        return BadInput(f"{self._path}: member {self._entry.name} {what}")


def open_npz(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, max_ratio: float = MAX_RATIO) -> NpzFile:
    """Check the zip directory and every local header of `path`, and read nothing else.

    Raises BadInput for anything but a whole zip of stored or deflated members with distinct, harmless names, headers
    that agree with the directory, no overlaps, and sizes within `max_bytes` and `max_ratio` (see `zip_directory`).
    """
    path = Path(path)
    with _opened(path) as (fd, identity):
        try:
            entries = read_directory(path, fd, max_bytes, max_ratio)
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from error
    return NpzFile(path, entries, identity)


def torn_npz(path: str | os.PathLike[str]) -> NpzFile:
    """What can be told of a file that `open_npz` refuses: the members whose own headers are whole, from the first on.

    Good for headers alone. Raises BadInput if it cannot be read.
    """
    path = Path(path)
    with _opened(path) as (fd, identity):
        try:
            return NpzFile(path, leading_entries(fd), identity)
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, tuple[int, ...]]]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO without a writer would block
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{path}: cannot be opened ({reason})") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise BadInput(f"{path} is {kind}; expected an NPZ file")
        yield fd, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    finally:
        os.close(fd)

"""TFRecord files: length-framed records, each guarded by two masked CRC32C sums.

A record is its length (uint64, little-endian), the masked CRC of those 8 bytes, the data, and the masked CRC of the
data; masking is a rotation by 15 bits and the addition of 0xa282ead8 (tensorflow/core/lib/hash/crc32c.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import StoreError
from imgassets.extras import extra
from imgassets.mapping import Mapped

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_LENGTH = struct.Struct("<Q")
CRC = struct.Struct("<I")
HEAD = _LENGTH.size + CRC.size
"""Bytes before a record's data."""
OVERHEAD = HEAD + CRC.size
"""Bytes of a record beside its data."""
TOGETHER = 1 << 12
"""Records whose lengths are checked at a time."""


def masked(crc: int) -> int:
    """A CRC32C as TFRecord files store it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def write(sink: SupportsWrite[bytes], records: Iterable[Sequence[bytes]]) -> tuple[int, int]:
    """Append records, each given in parts that are joined in the file and never in memory.

    Returns:
        Number of records, number of bytes.
    """
    crc32c = extra("google_crc32c")
    count = total = 0
    for parts in records:
        size = crc = 0
        for part in parts:
            size += len(part)
            crc = crc32c.extend(crc, part)
        length = _LENGTH.pack(size)
        sink.write(length + CRC.pack(masked(crc32c.value(length))) + parts[0])
        for part in parts[1:]:
            sink.write(part)
        sink.write(CRC.pack(masked(crc)))
        count += 1
        total += size + OVERHEAD
    return count, total


class TFRecordFile(Sequence[bytes]):
    """A TFRecord file by record number. The index is made when it is first needed, from the records' lengths.

    Every length and every record is checked against its CRC. Instances can be pickled, and shared by threads.
    """

    def __init__(self, path: str | Path, offsets: NDArray[np.int64] | None = None) -> None:
        self.path = Path(path)
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def offsets(self) -> NDArray[np.int64]:
        """int64 (records + 1,): where each record begins, and behind them the file's size.

        Raises:
            StoreError: a length is damaged, or the file ends inside a record.
        """
        if self._offsets is None:
            self._offsets = self._scan()
        return self._offsets

    def __getitem__(self, i: int) -> bytes:  # type: ignore[override]
        """Data of record `i`, negative from the end.

        Raises:
            StoreError: its bytes do not match their CRC.
        """
        n = len(self)
        if not -n <= i < n:
            raise IndexError(f"record {i} of {self.path}, which holds {n}")
        start, end = self._bounds(i % n)
        data = self._read(start + HEAD, end - start - HEAD)
        return self.check(data[: -CRC.size], data[-CRC.size :], i % n)

    def __iter__(self) -> Iterator[bytes]:
        for i in range(len(self)):
            yield self[i]

    def head(self, i: int, size: int = 256) -> bytes:
        """The first bytes of record `i`'s data, not checked against its CRC."""
        start, end = self._bounds(i)
        return self._read(start + HEAD, min(size, end - start - OVERHEAD))

    def verify(self) -> int:
        """Check every record and return how many there are."""
        return sum(1 for _ in self)

    def _bounds(self, i: int) -> tuple[int, int]:
        return int(self.offsets[i]), int(self.offsets[i + 1])

    def _scan(self) -> NDArray[np.int64]:
        with self._opened() as fd:
            size = os.fstat(fd).st_size
        mapped = Mapped([self.path], [size])
        with mapped.watched():
            return np.array([*self._walk(mapped.bytes), size], np.int64)

    def _walk(self, data: NDArray[np.uint8]) -> Iterator[int]:
        """Where each record begins, from length to length; they are looked at many at a time."""
        view, at, end = data.data, 0, len(data)
        while at < end:
            begins: list[int] = []
            while len(begins) < TOGETHER and at + HEAD <= end:
                begins.append(at)
                at += OVERHEAD + _LENGTH.unpack_from(view, at)[0]
            bad = np.flatnonzero(~_sound_heads(data[np.array(begins, np.int64)[:, None] + np.arange(HEAD)]))
            wrong = begins[bad[0]] if len(bad) else None
            if wrong is not None and wrong + OVERHEAD <= end:
                raise StoreError(
                    f"{self.path} is damaged: the length at byte {wrong} fails its CRC; make the shard again."
                )
            if wrong is not None or at > end or at + HEAD > end > at:
                torn = wrong if wrong is not None else begins[-1] if at > end else at
                raise StoreError(
                    f"{self.path} ends inside the record at byte {torn}: it was cut; make the shard again."
                )
            yield from begins

    def check(self, data: bytes, stored: bytes | memoryview, i: int) -> bytes:
        """Return the data of record `i` if the 4 bytes behind it are its CRC.

        Raises:
            StoreError: they are not.
        """
        if masked(extra("google_crc32c").value(data)) != CRC.unpack(stored)[0]:
            raise StoreError(f"{self.path} is damaged: record {i} fails its CRC; make the shard again.")
        return data

    def _read(self, offset: int, size: int) -> bytes:
        with self._opened() as fd:
            data = os.pread(fd, size, offset)
        if len(data) != size:
            raise StoreError(f"{self.path} changed while it was read: it ends before byte {offset + size}.")
        return data

    @contextmanager
    def _opened(self) -> Iterator[int]:
        # opened anew each time: a thousand shards are more than a process may keep open
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}.") from None
        try:
            yield fd
        finally:
            os.close(fd)


def _sound_heads(heads: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(n,): whether the length within each of (n, HEAD) bytes has its CRC."""
    table, crc = _table(), np.full(len(heads), 0xFFFFFFFF, np.uint32)
    for byte in heads[:, : _LENGTH.size].T:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc = ~crc
    stored: NDArray[np.uint32] = np.ascontiguousarray(heads[:, _LENGTH.size :]).view("<u4")[:, 0]
    sound: NDArray[np.bool_] = (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8) == stored
    return sound


@cache
def _table() -> NDArray[np.uint32]:
    """(256,): CRC32C of each byte."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ 0x82F63B78, crc >> 1).astype(np.uint32)
    return crc

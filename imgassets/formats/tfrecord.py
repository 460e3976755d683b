"""TFRecord files: length-framed records, each guarded by two masked CRC32C sums.

A record is its length (uint64, little-endian), the masked CRC of those 8 bytes, the data, and the masked CRC of the
data; masking is a rotation by 15 bits and the addition of 0xa282ead8 (tensorflow/core/lib/hash/crc32c.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import StoreError
from imgassets.extras import extra

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
HEAD = _LENGTH.size + _CRC.size
"""Bytes before a record's data."""
OVERHEAD = HEAD + _CRC.size
"""Bytes of a record beside its data."""


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
        sink.write(length + _CRC.pack(masked(crc32c.value(length))) + parts[0])
        for part in parts[1:]:
            sink.write(part)
        sink.write(_CRC.pack(masked(crc)))
        count += 1
        total += size + OVERHEAD
    return count, total


class TFRecordFile(Sequence[bytes]):
    """A TFRecord file by record number. The index is made when it is first needed, from the records' lengths.

    Every length and every record is checked against its CRC. Instances can be pickled, and shared by threads.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._offsets: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def offsets(self) -> NDArray[np.int64]:
        """int64 (records + 1,): where each record begins, and behind them the file's size.

        Raises:
            StoreError: a length is damaged, or the file ends inside a record.
        """
        if self._offsets is None:
            self._offsets = np.fromiter(self._scan(), dtype=np.int64)
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
        return self._checked(self._read(start + HEAD, end - start - HEAD), i % n)

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

    def _scan(self) -> Iterator[int]:
        with self._opened() as fd:
            at, end = 0, os.fstat(fd).st_size
            while at < end:
                yield at
                head = os.pread(fd, HEAD, at)
                sound = len(head) == HEAD and _head_is_sound(head)
                length = _LENGTH.unpack_from(head)[0] if sound else 0
                if len(head) < HEAD or at + OVERHEAD + length > end:
                    raise StoreError(
                        f"{self.path} ends inside the record at byte {at}: it was cut; make the shard again."
                    )
                if not sound:
                    raise StoreError(
                        f"{self.path} is damaged: the length at byte {at} fails its CRC; make the shard again."
                    )
                at += OVERHEAD + length
        yield end

    def _checked(self, data: bytes, i: int) -> bytes:
        body, (stored,) = data[: -_CRC.size], _CRC.unpack(data[-_CRC.size :])
        if masked(extra("google_crc32c").value(body)) != stored:
            raise StoreError(f"{self.path} is damaged: record {i} fails its CRC; make the shard again.")
        return body

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


def _head_is_sound(head: bytes) -> bool:
    (stored,) = _CRC.unpack_from(head, _LENGTH.size)
    return bool(masked(extra("google_crc32c").value(head[: _LENGTH.size])) == stored)

"""TFRecord files: length-framed records, each guarded by two masked CRC32C sums.

A record is its length (uint64, little-endian), the masked CRC of those 8 bytes, the data, and the masked CRC of the
data; masking is a rotation by 15 bits and the addition of 0xa282ead8 (tensorflow/core/lib/hash/crc32c.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import google_crc32c

from imgassets.errors import StoreError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
HEAD = _LENGTH.size + _CRC.size
"""Bytes before a record's data."""
OVERHEAD = HEAD + _CRC.size
"""Bytes of a record beside its data."""


class Sink(Protocol):
    """Where a writer puts its bytes."""

    def write(self, data: Buffer, /) -> int:
        """Append a buffer."""
        ...


def masked(crc: int) -> int:
    """A CRC32C as TFRecord files store it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def write(sink: Sink, records: Iterable[Sequence[bytes]]) -> tuple[int, int]:
    """Append records, each given in parts that are joined in the file and never in memory.

    Returns:
        Number of records, number of bytes.
    """
    count = total = 0
    for parts in records:
        size = crc = 0
        for part in parts:
            size += len(part)
            crc = google_crc32c.extend(crc, part)
        length = _LENGTH.pack(size)
        sink.write(length + _CRC.pack(masked(google_crc32c.value(length))) + parts[0])
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
        self._fd = -1
        self._offsets: list[int] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def offsets(self) -> list[int]:
        """Where each record begins, and behind them the file's size.

        Raises:
            StoreError: a length is damaged, or the file ends inside a record.
        """
        if self._offsets is None:
            self._offsets = list(self._scan())
        return self._offsets

    def __getitem__(self, i: int) -> bytes:  # type: ignore[override]
        """Data of record `i`, negative from the end.

        Raises:
            StoreError: its bytes do not match their CRC.
        """
        n = len(self)
        if not -n <= i < n:
            raise IndexError(f"record {i} of {self.path}, which holds {n}")
        start, end = self.offsets[i % n], self.offsets[i % n + 1]
        return self._checked(self._read(start + HEAD, end - start - HEAD), i % n)

    def __iter__(self) -> Iterator[bytes]:
        for i in range(len(self)):
            yield self[i]

    def verify(self) -> int:
        """Check every record and return how many there are."""
        return sum(1 for _ in self)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_fd": -1, "_offsets": self._offsets}

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    def _scan(self) -> Iterator[int]:
        at, end = 0, self.path.stat().st_size
        while at < end:
            yield at
            head = self._read(at, min(HEAD, end - at))
            length = _LENGTH.unpack_from(head)[0] if len(head) == HEAD else 0
            if len(head) < HEAD or (at + OVERHEAD + length > end and _head_is_sound(head)):
                raise StoreError(f"{self.path} ends inside the record at byte {at}: it was cut; make the shard again.")
            if not _head_is_sound(head):
                raise StoreError(
                    f"{self.path} is damaged: the length at byte {at} fails its CRC; make the shard again."
                )
            at += OVERHEAD + length
        yield end

    def _checked(self, data: bytes, i: int) -> bytes:
        body, (stored,) = data[: -_CRC.size], _CRC.unpack(data[-_CRC.size :])
        if masked(google_crc32c.value(body)) != stored:
            raise StoreError(f"{self.path} is damaged: record {i} fails its CRC; make the shard again.")
        return body

    def _read(self, offset: int, size: int) -> bytes:
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        data = os.pread(self._fd, size, offset)
        if len(data) != size:
            raise StoreError(f"{self.path} changed while it was read: it ends before byte {offset + size}.")
        return data


def _head_is_sound(head: bytes) -> bool:
    (stored,) = _CRC.unpack_from(head, _LENGTH.size)
    return bool(masked(google_crc32c.value(head[: _LENGTH.size])) == stored)

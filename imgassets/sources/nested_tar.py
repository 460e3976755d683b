"""Tar archives, and tars inside them, walked by their headers where they lie: nothing is unpacked.

Headers follow POSIX.1-1988 ustar, the pax extension of POSIX.1-2001 and GNU tar's long names and base-256
sizes. An archive that holds anything but plain files and folders with harmless names is refused, and so is
one that is cut, damaged or carries bytes behind its end.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from imgassets.errors import BadInput
from imgassets.foreign import foreign

BLOCK = 512
"""Bytes of a tar header, and the unit that members are padded to."""
MAX_EXTENSION = 1 << 16
"""Longest accepted GNU long name or pax header in bytes; Linux paths end at 4096."""
CHUNK = 1 << 20

_ZEROS = bytes(BLOCK)
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"S": "a sparse file",
    b"M": "a part of a multi-volume archive",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive: its name, absolute offset in the outermost file, and size in bytes."""

    name: str
    offset: int
    size: int

    @property
    def basename(self) -> str:
        """The name without folders."""
        return self.name.rpartition("/")[2]


class Digest(Protocol):
    """A running checksum, such as those of hashlib and xxhash."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """The checksum of all bytes so far."""
        ...


class Tape:
    """A file read forwards, optionally feeding checksums with all of it on the way.

    Reads use `pread`, so that an I/O error is an exception and not a signal as with a mapped file.
    """

    def __init__(self, path: Path, *digests: Digest) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BadInput(f"{path} is missing: put the archive there, or point IMGASSETS_RAW at its folder.") from None
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
        self.size = os.fstat(self._fd).st_size
        self._digests = digests
        self._passed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`. With digests, offsets must not go back over what was read before.

        Raises:
            BadInput: the file ends before that, or cannot be read there.
        """
        if self._digests:
            self._pass_to(offset)
        return self._next(offset, size)

    def finish(self) -> None:
        """Read on to the end, so that the digests are those of the whole file."""
        self._pass_to(self.size)

    def _pass_to(self, offset: int) -> None:
        if offset < self._passed:
            raise ValueError(f"offset {offset} lies before {self._passed}, which was read already")
        while self._passed < offset:
            self._next(self._passed, min(CHUNK, offset - self._passed))

    def _next(self, offset: int, size: int) -> bytes:
        data = self._pread(size, offset)
        for digest in self._digests:
            digest.update(data)
        self._passed = offset + size
        return data

    def _pread(self, size: int, offset: int) -> bytes:
        try:
            data = os.pread(self._fd, size, offset)
            while len(data) < size:  # one call ends early at 2 GiB, or when a signal comes
                more = os.pread(self._fd, size - len(data), offset + len(data))
                if not more:
                    raise BadInput(
                        f"{self.path} ends at byte {offset + len(data)}, {size - len(data)} bytes early: "
                        "it was cut or is being written; copy or download it again."
                    )
                data += more
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read at byte {offset} ({error.strerror}): check the disk.") from None
        return data


def walk(read: Callable[[int, int], bytes], start: int, end: int, where: str) -> Iterator[Member]:
    """The regular files of the archive that fills bytes `start` to `end`, in the order they lie in.

    Args:
        read: `read(offset, size)`, called with growing offsets only.
        start: Absolute offset of the first header.
        end: Absolute offset behind the archive's last byte.
        where: The archive's name in error messages.

    Raises:
        BadInput: the archive is empty, cut, damaged, or holds a link, a device, a duplicate or an unsafe name.
    """
    if end - start < BLOCK:
        if end > start and (what := foreign(read(start, end - start))):
            raise BadInput(f"{where} is no tar archive: it {what}.")
        raise _refused(where, f"has {end - start} bytes and is no tar archive")
    at, seen = start, set[str]()
    extended: dict[str, str] = {}
    while True:
        if at + BLOCK > end:
            raise _refused(where, f"ends at byte {end} without the two blocks of zeros that end a tar: it was cut")
        header = read(at, BLOCK)
        if header == _ZEROS:
            if extended:
                raise _refused(where, f"ends at byte {at} behind an extended header: it was cut")
            _check_end(read, at, end, where)
            return
        if at == start and header[257:262] != b"ustar" and (what := foreign(header)):
            raise BadInput(f"{where} is no tar archive: it {what}.")
        _check_sum(header, at, start, where)
        kind, at = header[156:157], at + BLOCK
        size = _size(extended.get("size"), header, at - BLOCK, where)
        if at + size > end:
            raise _refused(where, f"declares a member of {size} bytes at byte {at} but ends at {end}: it was cut")
        padded = at + -(-size // BLOCK) * BLOCK
        if kind in b"xgLK":
            if size > MAX_EXTENSION:
                raise _refused(where, f"has an extended header of {size} bytes at byte {at - BLOCK}")
            extended |= _extension(kind, read(at, size), at - BLOCK, where)
            at = padded
            continue
        name = _safe_name(extended.get("path") or _name(header), where)
        is_folder = kind == b"5" or (kind in b"0\0" and name.endswith("/"))
        if kind in _REFUSED or kind not in b"0\x0057":
            what = _REFUSED.get(kind, f"of the unknown type {kind!r}")
            raise _refused(where, f"holds {name!r}, which is {what}; only plain files are read")
        if is_folder and size:
            raise _refused(where, f"holds {name!r}, a folder with {size} bytes of content")
        if not is_folder:
            if padded > end:
                raise _refused(where, f"ends inside the padding of {name!r}: it was cut")
            if name in seen:
                raise _refused(where, f"holds {name!r} twice")
            seen.add(name)
            yield Member(name, at, size)
        at, extended = padded, {}


def _refused(where: str, problem: str) -> BadInput:
    return BadInput(f"{where} {problem}; download or repack the archive.")


def _check_sum(header: bytes, at: int, start: int, where: str) -> None:
    try:
        stated = int(header[148:156].strip(b" \0"), 8)
    except ValueError:
        stated = -1
    total = sum(header) - sum(header[148:156]) + 8 * 32
    # some old programs summed the bytes as signed numbers
    if stated != total and stated != total - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        what = "is no tar archive" if at == start else "is damaged"
        raise _refused(where, f"{what}: the header at byte {at} has a wrong checksum")


def _check_end(read: Callable[[int, int], bytes], at: int, end: int, where: str) -> None:
    if end - at < 2 * BLOCK:
        raise _refused(where, f"ends at byte {end} after one block of zeros, where a tar ends with two: it was cut")
    for offset in range(at + BLOCK, end, CHUNK):
        if read(offset, min(CHUNK, end - offset)).strip(b"\0"):
            raise _refused(where, f"has other bytes behind its end at byte {at}: it is damaged, or several tars in one")


def _size(pax: str | None, header: bytes, at: int, where: str) -> int:
    field = header[124:136]
    try:
        if pax is not None:
            size = int(pax)
        elif field[0] & 0x80:  # base-256, for 8 GiB and more; 0xff begins a negative number
            size = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big") if field[0] != 0xFF else -1
        else:
            size = int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        size = -1
    if size < 0:
        raise _refused(where, f"declares no valid size in the header at byte {at}")
    return size


def _name(header: bytes) -> str:
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _extension(kind: bytes, body: bytes, at: int, where: str) -> dict[str, str]:
    """What a GNU long name (`L`), a pax header (`x`) or a global pax header (`g`) says of the next member."""
    if kind in b"LK":
        return {"path": body.partition(b"\0")[0].decode("utf-8", "surrogateescape")} if kind == b"L" else {}
    found: dict[str, str] = {}
    while body.strip(b"\0"):
        digits = body.partition(b" ")[0]
        length = int(digits) if digits.isdigit() and len(digits) < 9 else 0
        record = body[len(digits) + 1 : length]
        if length > len(body) or not record.endswith(b"\n"):
            raise _refused(where, f"has a damaged pax header at byte {at}")
        body = body[length:]
        key, _, value = record[:-1].partition(b"=")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
    if any(key.startswith("GNU.sparse") for key in found):
        raise _refused(where, f"holds a sparse file at byte {at}; only plain files are read")
    wanted: dict[str, str] = {key: found[key] for key in ("path", "size") if key in found}
    if kind == b"g" and wanted:
        raise _refused(where, f"sets {' and '.join(wanted)} for all members in a global header at byte {at}")
    return wanted


def _safe_name(name: str, where: str) -> str:
    """The name without a leading `./`.

    Raises:
        BadInput: it is empty, absolute, climbs out with `..`, or holds a control character or a backslash.
    """
    if name.startswith("/"):
        problem = "which is absolute"
    elif ".." in name.split("/"):
        problem = "which leaves the archive's folder"
    elif "\\" in name or any(unicodedata.category(c) in {"Cc", "Cs"} for c in name):
        problem = "which holds a backslash, a control character or bytes that are not UTF-8"
    elif not name:
        problem = "which is empty"
    else:
        return name.removeprefix("./")
    raise _refused(where, f"has a member named {name[:80]!r}, {problem}")

"""The directory of a zip file, checked against the headers it points to before anybody reads a member.

Layout: PKWARE APPNOTE 6.3, zip64 included; finding and parsing the directory itself is left to `zipfile`.
"""

from __future__ import annotations

import errno
import io
import os
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from imgassets.errors import BadInput
from imgassets.foreign import HEAD, foreign

MAX_BYTES = 64 << 30
"""Largest size, in bytes, a member may declare; ImageNet's whole train split at 64×64 is 15 GiB."""
MAX_RATIO = 200.0
"""Largest ratio of unpacked to packed bytes of a member above `RATIO_FLOOR`; natural images stay below 3."""
RATIO_FLOOR = 16 << 20
"""Smaller members may have any ratio: sorted labels deflate a thousandfold and 16 MiB harm nobody."""

_MAX_DIRECTORY = 1 << 20
_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END64_SPAN = 56 + 20  # the zip64 end record and its locator lie right before the end record
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # APPNOTE 4.4.4: bits 0, 6 and 13
_PATCH = 0x20
_SIZES_FOLLOW = 0x8
_UTF8 = 0x800
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


@dataclass(frozen=True)
class Entry:
    """One member as the zip's headers describe it; `offset` is that of its first packed byte in the file."""

    name: str
    method: str  # "stored" or "deflated"
    bytes: int
    packed_bytes: int
    crc: int
    offset: int

    @property
    def stored(self) -> bool:
        return self.method == "stored"


class _Bounded(io.FileIO):
    """What `zipfile` reads the directory from; a directory that claims a gigabyte is not read into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        whole = size is None or size < 0 or size > _MAX_DIRECTORY
        data = super().read(_MAX_DIRECTORY + 1 if whole else size) or b""
        if len(data) > _MAX_DIRECTORY:
            raise OSError(errno.EFBIG, "its zip directory is larger than 1 MiB")
        return data


def read_directory(path: Path, fd: int, max_bytes: int, max_ratio: float) -> dict[str, Entry]:
    """The members of the zip open at `fd` by name, in file order; BadInput as `npz.open_npz` says."""
    size = os.fstat(fd).st_size
    if not size:
        raise BadInput(f"{path} is empty (0 bytes); copy or download it again")
    magic = os.pread(fd, 4, 0)
    if magic not in (b"PK\3\4", b"PK\5\6") and (what := foreign(os.pread(fd, HEAD, 0))):
        raise BadInput(f"{path} is not an NPZ file: it {what}")
    if magic not in (b"PK\3\4", b"PK\5\6"):
        raise BadInput(f"{path} is not an NPZ file (a zip begins with 'PK', this with {magic!r})")
    try:
        with _Bounded(fd, closefd=False) as file, zipfile.ZipFile(file) as archive:
            infos, comment, end = archive.infolist(), archive.comment, archive.start_dir
    except OSError:
        raise
    except Exception as error:  # zipfile lets struct, Unicode and value errors of a forged directory through
        raise BadInput(
            f"{path} is cut short or damaged: the zip directory at its end is missing or broken; "
            "copy or download it again"
        ) from error
    if len(infos) != _declared_count(path, fd, size - len(comment)):
        raise BadInput(f"{path}: its zip directory does not hold as many members as it says; copy or download it again")
    entries: list[Entry] = []
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        _check(path, info, max_bytes, max_ratio)
        entry = Entry(
            name=info.orig_filename,
            method=_METHODS[info.compress_type],
            bytes=info.file_size,
            packed_bytes=info.compress_size,
            crc=info.CRC,
            offset=_local_header(path, fd, info),
        )
        if entry.offset + entry.packed_bytes > end:
            raise BadInput(
                f"{path}: member {entry.name} reaches into what follows it; the file is cut short, damaged or forged"
            )
        end = info.header_offset
        entries.append(entry)
    if end and entries:
        raise BadInput(f"{path} has {end:,} bytes before its first member; copy or download it again")
    by_name = {entry.name: entry for entry in reversed(entries)}
    if len(by_name) < len(entries):
        twice = next(entry.name for entry in entries if by_name[entry.name] is not entry)
        raise BadInput(f"{path} has two members named {twice}; which one is meant cannot be known")
    return by_name


def leading_entries(fd: int) -> dict[str, Entry]:
    """The members that a zip without its directory tells of itself, from its first byte up to where it cannot.

    Of the last one less may be there than it says.
    """
    entries: dict[str, Entry] = {}
    at, there = 0, os.fstat(fd).st_size
    while (head := os.pread(fd, _LOCAL.size, at))[:4] == b"PK\3\4" and len(head) == _LOCAL.size:
        _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(head)
        rest = os.pread(fd, name_bytes + extra_bytes, at + _LOCAL.size)
        size, packed = _sizes(rest[name_bytes:], size, packed)
        name = rest[:name_bytes].decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        plain = method in _METHODS and not flags & (_ENCRYPTED | _PATCH | _SIZES_FOLLOW)
        if not plain or name in entries or max(size, packed) > MAX_BYTES:
            break
        at += _LOCAL.size + name_bytes + extra_bytes
        entries[name] = Entry(name, _METHODS[method], size, max(0, min(packed, there - at)), crc, at)
        at += packed
    return entries


def _declared_count(path: Path, fd: int, end: int) -> int:
    """Members the zip claims in the record that ends at `end`, where its comment begins (APPNOTE 4.3.14 to 4.3.16)."""
    start = max(0, end - _END.size - _END64_SPAN)
    tail = os.pread(fd, end + 0xFFFF - start, start)
    record, comment = tail[: end - start][-_END.size :], tail[end - start :]
    if record[:4] != b"PK\5\6" or _END.unpack(record)[-1] != len(comment):
        raise BadInput(f"{path} has bytes after the end of the zip; copy or download it again")
    count: int = _END.unpack(record)[4]
    if count == 0xFFFF and tail[:4] == b"PK\6\6":
        (count,) = struct.unpack_from("<Q", tail, 32)
    return count


def _check(path: Path, info: zipfile.ZipInfo, max_bytes: int, max_ratio: float) -> None:
    name = info.orig_filename
    if not name or re.search(r"[\x00-\x1f\x7f\\:]", name) or name.startswith("/") or ".." in name.split("/"):
        raise BadInput(f"{path} has a member named {name!r}, which could leave its folder; the file is refused")
    where = f"{path}: member {name}"
    if info.flag_bits & _ENCRYPTED:
        raise BadInput(f"{where} is encrypted; save it without a password")
    if info.compress_type not in _METHODS or info.flag_bits & _PATCH:
        raise BadInput(
            f"{where} is packed by zip method {info.compress_type}; "
            "expected stored (np.savez) or deflated (np.savez_compressed)"
        )
    if info.file_size > max_bytes:
        raise BadInput(f"{where} declares {info.file_size:,} bytes, more than the limit of {max_bytes:,}")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise BadInput(f"{where} is stored, but its two sizes differ; the file is damaged or forged")
    if info.file_size > max(RATIO_FLOOR, max_ratio * info.compress_size):
        raise BadInput(
            f"{where} declares {info.file_size:,} bytes packed into {info.compress_size:,}, "
            f"more than {max_ratio:g} to one: a decompression bomb is not unpacked"
        )


def _local_header(path: Path, fd: int, info: zipfile.ZipInfo) -> int:
    """Offset of the member's first packed byte; it is this header, not the directory, that says where that is."""
    where = f"{path}: member {info.orig_filename}"
    head = os.pread(fd, _LOCAL.size, info.header_offset) if info.header_offset >= 0 else b""
    if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
        raise BadInput(f"{where} is not where the zip directory says; the file is cut short or damaged")
    name_bytes: int
    extra_bytes: int
    _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(head)
    rest = os.pread(fd, name_bytes + extra_bytes, info.header_offset + _LOCAL.size)
    name, extra = rest[:name_bytes], rest[name_bytes:]
    size, packed = _sizes(extra, size, packed)
    same = (
        name == info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437", "replace")
        and method == info.compress_type
        and flags & (_ENCRYPTED | _SIZES_FOLLOW) == info.flag_bits & (_ENCRYPTED | _SIZES_FOLLOW)
        and all(
            # a writer that could not seek back leaves zeros here and puts the numbers behind the content
            here == there or (here == 0 and flags & _SIZES_FOLLOW)
            for here, there in ((crc, info.CRC), (packed, info.compress_size), (size, info.file_size))
        )
    )
    if not same:
        raise BadInput(f"{where}: its own header and the zip directory disagree; the file is damaged or forged")
    return info.header_offset + _LOCAL.size + name_bytes + extra_bytes


def _sizes(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    """Sizes of a local header, from its zip64 extra field (id 1) if that has them, unpacked first (APPNOTE 4.5.3)."""
    while 0xFFFFFFFF in (packed, size) and len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1 and min(length, len(extra) - 4) >= 16:
            size, packed = struct.unpack_from("<QQ", extra, 4)
            break
        extra = extra[4 + length :]
    return size, packed

"""Whether a file has its end: one that is still being copied has not, at whatever size it stands still."""

from __future__ import annotations

from pathlib import Path

TAR_END = 1024
"""A tar archive ends with two blocks of zeros (POSIX pax, "ustar Interchange Format")."""
ZIP_END = 65_535 + 22
"""Longest comment and the end of central directory record before it (APPNOTE 4.3.16)."""


def has_end(path: Path) -> bool:
    """Whether `path` ends as its suffix promises; what has no mark at its end is taken to."""
    suffix = path.suffix.lower()
    if suffix == ".tar":
        return not any(_tail(path, TAR_END)) and path.stat().st_size >= TAR_END
    if suffix in {".npz", ".zip"}:
        return b"PK\x05\x06" in _tail(path, ZIP_END)
    return True


def _tail(path: Path, count: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read(count)

"""Tar archives made by the standard library, to be read by our walker."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

Entry = tuple[str, bytes] | tarfile.TarInfo


def tar(entries: Iterable[Entry], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    """An archive of files given as name and content, or of members made by hand."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                archive.addfile(info, io.BytesIO(entry[1]))
    return buffer.getvalue()


def member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """A member that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info

"""Where the bytes of one sample lie, in a raw input or in an artifact."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imgassets.errors import StoreError


@dataclass(frozen=True)
class Place:
    """A run of bytes, or a row that only its format's reader can take out."""

    file: str
    """Path below the raw inputs, the repository or the partition."""
    size: int | None = None
    """Bytes."""
    offset: int | None = None
    """Of the first of them in the file; None where they are compressed, or not on this machine."""
    member: str = ""
    """What the file, an archive, calls them."""
    read: Callable[[], bytes] | None = None
    """The bytes themselves."""
    known: str = ""
    """Their SHA-256, where it is recorded."""

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes; empty for a row of a table, which has none of its own."""
        return hashlib.sha256(self.read()).hexdigest() if self.read else self.known


def slice_of(path: Path, file: str, offset: int, size: int, member: str = "") -> Place:
    """`size` bytes of `path` from `offset` on, to be called `file`."""

    def read() -> bytes:
        try:
            with path.open("rb") as opened:
                data = os.pread(opened.fileno(), size, offset)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
        if len(data) != size:
            raise StoreError(f"{path} ends before byte {offset + size}: `imgassets verify` tells what is damaged.")
        return data

    return Place(file, size, offset, member, read)

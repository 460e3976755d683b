"""A look at a vault that reads no more than names and manifests, and writes nothing: what plans are made from."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from imgassets.commit.checksum import Checksums, key_of, remembered, remembered_before, xxh3_128
from imgassets.commit.vault import Vault
from imgassets.errors import BadInput


class Peek(Checksums):
    """Remembered checksums only. A file that would have to be read gets a stand-in that no recipe has.

    The stand-in is made of size and time, so two looks at a file that is not being written give the same one.
    """

    def __init__(
        self,
        database: Path,
        compute: Callable[[Path], str] = xxh3_128,
        told: Callable[[Path, int], object] = lambda path, size: None,
    ) -> None:
        """`told` is called with every file that gets a stand-in, and its size in bytes."""
        self._memory, self._told = database, told
        del compute  # nothing is read

    @cached_property
    def _connection(self) -> sqlite3.Connection | None:
        if not self._memory.exists():
            return None
        uri = f"{self._memory.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=60, check_same_thread=False)
        weakref.finalize(self, connection.close)
        return connection

    def of(self, path: Path) -> str:
        """The remembered checksum of `path`, or its stand-in.

        Raises:
            BadInput: there is no such file.
        """
        if known := self.known(path):
            return known
        self._told(path, path.stat().st_size)
        return self.stand_in(path)

    def known(self, path: Path) -> str | None:
        """The checksum, if the file has not changed since it was computed."""
        try:
            key, db = key_of(path), self._connection
            return (remembered(db, key) or remembered_before(db, key)) if db else None
        except sqlite3.Error:  # a memory that cannot be used is none
            return None
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error

    def remember(self, path: Path, value: str) -> None:
        """Nothing is written."""

    def stand_in(self, path: Path) -> str:
        """Size and time of a file, in the place of its checksum."""
        _, size, mtime, _, _ = key_of(path)
        return f"{size}:{mtime}"


class PeekVault(Vault):
    """A vault whose checksums come from memory alone."""

    @cached_property
    def stood_in(self) -> dict[Path, int]:
        """Size in bytes of every file that would have to be read, as they are asked for."""
        return {}

    @cached_property
    def _peek(self) -> Peek:
        return Peek(self.state / "checksums.sqlite", told=self._note)

    def _note(self, path: Path, size: int) -> None:
        self.stood_in[path] = size

    looking: ClassVar[bool] = True

    def memory(self, name: str, compute: Callable[[Path], str]) -> Peek:
        """What is remembered of another kind, and stand-ins."""
        return Peek(self.state / f"{name}.sqlite", compute, self._note)

    @property
    def checksums(self) -> Peek:
        """Remembered checksums and stand-ins."""
        return self._peek

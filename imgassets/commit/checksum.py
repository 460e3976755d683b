"""Checksums of files, and a memory of them so that what has not changed is not read again.

XXH3-128 finds damage at the speed of memory (about ten times SHA-256); it is no defence against forgery, and
need not be: whoever can forge a file of the store can forge its manifest too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import xxhash

from imgassets.errors import BadInput

CHUNK = 1 << 20


def xxh3_128(path: Path) -> str:
    """Hexadecimal XXH3-128 of a file's bytes, read in blocks of 1 MiB.

    Raises:
        BadInput: the file cannot be read.
    """
    digest = xxhash.xxh3_128()
    buffer = memoryview(bytearray(CHUNK))
    try:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


class Checksums:
    """Checksums remembered by (path, size, mtime, inode) in one SQLite file.

    A file whose size, time or inode has changed is read again. The memory is only a memory: deleting it
    costs time and nothing else, so it is written without waiting for the disk.
    """

    def __init__(self, database: Path) -> None:
        self._database = database

    def of(self, path: Path) -> str:
        """XXH3-128 of `path`, from memory where the file is known to be unchanged."""
        try:
            key = _key(path)
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
        with self._connect() as db:
            row = db.execute(
                "SELECT sum FROM checksums WHERE path=? AND size=? AND mtime=? AND inode=?", key
            ).fetchone()
        if row:
            return str(row[0])
        value = xxh3_128(path)
        self._store(key, value)
        return value

    def remember(self, path: Path, value: str) -> None:
        """Record a checksum that was computed while the file was written."""
        self._store(_key(path), value)

    def _store(self, key: tuple[str, int, int, int], value: str) -> None:
        with self._connect() as db:
            db.execute("REPLACE INTO checksums VALUES (?,?,?,?,?)", (*key, value))

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        self._database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._database, timeout=60, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous=OFF")
            db.execute(
                "CREATE TABLE IF NOT EXISTS checksums"
                " (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, inode INTEGER, sum TEXT)"
            )
            yield db


def _key(path: Path) -> tuple[str, int, int, int]:
    stat = os.stat(path)
    return str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino

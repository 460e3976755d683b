"""Checksums of files, and a memory of them so that what has not changed is not read again.

XXH3-128 finds damage at the speed of memory (about ten times SHA-256); it is no defence against forgery, and
need not be: whoever can forge a file of the vault can forge its manifest too.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import xxhash

from imgassets.errors import BadInput

log = logging.getLogger(__name__)

CHUNK = 1 << 20

TICK = 20_000_000
"""Nanoseconds in which a file can change twice and keep its times: what stamps files ticks every 1 to 10 ms."""
KNOWN = "SELECT sum FROM sums WHERE path=? AND size=? AND mtime=? AND ctime=? AND inode=?"
"""The time of content (mtime) can be set; that of the last change of any kind (ctime) cannot."""
REMEMBER = "REPLACE INTO sums VALUES (?,?,?,?,?,?)"
KNOWN_BEFORE = "SELECT sum FROM checksums WHERE path=? AND size=? AND mtime=? AND inode=?"
"""Of a memory of an earlier version, which did not know ctimes."""

DAMAGED = {11, 26}
"""`SQLITE_CORRUPT` and `SQLITE_NOTADB`."""

Key = tuple[bytes, int, int, int, int]


def digest_of(path: Path) -> str:
    """Hexadecimal XXH3-128 of a file's bytes, read in blocks of 1 MiB.

    Raises:
        OSError: the file cannot be read.
    """
    digest = xxhash.xxh3_128()
    buffer = memoryview(bytearray(CHUNK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def xxh3_128(path: Path) -> str:
    """The same of an input.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        return digest_of(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


class Checksums:
    """Checksums remembered by (path, size, mtime, ctime, inode) in one SQLite file; `compute` makes them, XXH3-128 by
    default.

    A file of which any of these has changed is read again. The memory is only a memory: deleting it
    costs time and nothing else, so it is written without waiting for the disk, and where it cannot be used the
    files are read.
    """

    def __init__(self, database: Path, compute: Callable[[Path], str] = xxh3_128) -> None:
        self._database = database
        self._compute = compute

    def of(self, path: Path) -> str:
        """Checksum of `path`, from memory where the file is known to be unchanged.

        Raises:
            BadInput: the file cannot be read.
        """
        try:
            key = key_of(path)
            if (known := self._lookup(key)) is not None:
                return known
            key = _settled(path, key)
            value = self._compute(path)
            if key == key_of(path):
                self._store(key, value)
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
        return value

    def known(self, path: Path) -> str | None:
        """XXH3-128 of `path` if it is remembered and the file unchanged: whoever reads the file anyway can give it."""
        try:
            return self._lookup(key_of(path))
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error

    def remember(self, path: Path, value: str) -> None:
        """Record a checksum that was computed while the file was written, by whoever alone may write it."""
        try:
            self._store(key_of(path), value)
        except OSError as error:
            log.warning("The checksum of %s is not remembered: %s.", path, error)

    def _lookup(self, key: Key) -> str | None:
        try:
            with self._connect() as db:
                known = remembered(db, key)
                if known is None and (known := remembered_before(db, key)) is not None:
                    db.execute(REMEMBER, (*key, known))
                    db.execute("DELETE FROM checksums WHERE path=?", key[:1])
                return known
        except (OSError, sqlite3.Error) as error:
            self._doubt(error)
            return None

    def _store(self, key: Key, value: str) -> None:
        try:
            with self._connect() as db:
                db.execute(REMEMBER, (*key, value))
        except (OSError, sqlite3.Error) as error:
            self._doubt(error)

    def _doubt(self, error: Exception) -> None:
        """Go on without the memory; one that a power cut has damaged is begun anew."""
        log.warning("%s cannot be used (%s): files are read instead.", self._database, error)
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
            for name in (self._database, self._database.with_name(f"{self._database.name}-journal")):
                with suppress(OSError):
                    name.unlink()

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        self._database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._database, timeout=60, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous=OFF")
            db.execute(
                "CREATE TABLE IF NOT EXISTS sums"
                " (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, sum TEXT)"
            )
            yield db


def remembered(db: sqlite3.Connection, key: Key) -> str | None:
    """The checksum that is remembered of a file, if it is unchanged."""
    return _found(db, KNOWN, key)


def remembered_before(db: sqlite3.Connection, key: Key) -> str | None:
    """The same by an earlier version."""
    path, size, mtime, _, inode = key
    return _found(db, KNOWN_BEFORE, (path, size, mtime, inode))


def _found(db: sqlite3.Connection, query: str, key: tuple[bytes | int, ...]) -> str | None:
    with suppress(sqlite3.OperationalError):  # a table that is not there
        row = db.execute(query, key).fetchone()
        return str(row[0]) if row else None
    return None


def key_of(path: Path) -> Key:
    """What tells a file from one that has changed."""
    stat = os.stat(path)
    # names need not be UTF-8, and inodes may have 64 bits where SQLite has 63
    place, inode = os.fsencode(path.absolute()), stat.st_ino & (2**63 - 1)
    return place, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, inode


def _settled(path: Path, key: Key) -> Key:
    """The same once another change would get another time."""
    young = TICK - (time.time_ns() - key[3])
    if not 0 < young <= TICK:
        return key
    time.sleep(young / 1e9)
    return key_of(path)

"""The memory of checksums: never wrong for a file that changed, never in the way."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from imgassets.commit import Checksums, xxh3_128
from imgassets.errors import BadInput


@pytest.fixture
def memory(tmp_path: Path) -> Checksums:
    return Checksums(tmp_path / "state" / "checksums.sqlite")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "raw.bin"
    path.write_bytes(b"old")
    os.utime(path, ns=(0, time.time_ns() - 10**9))
    return path


def test_what_is_unchanged_is_not_read_again(memory: Checksums, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = memory.of(file)
    monkeypatch.setattr("imgassets.commit.checksum.xxh3_128", lambda path: pytest.fail("was read"))
    assert memory.of(file) == value


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_change_is_seen(memory: Checksums, file: Path, change: str) -> None:
    memory.of(file)
    stat = file.stat()
    if change == "inode":
        (file.parent / "other").write_bytes(b"new")
        (file.parent / "other").replace(file)
    else:
        file.write_bytes(b"new" if change == "time" else b"newer")
    if change != "time":
        os.utime(file, ns=(0, stat.st_mtime_ns))
    assert memory.of(file) == xxh3_128(file)


def test_two_changes_within_one_tick_of_the_clock_are_told_apart(memory: Checksums, file: Path) -> None:
    file.write_bytes(b"one")
    first, stat = memory.of(file), file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(0, stat.st_mtime_ns))  # as if the clock had not moved
    assert memory.of(file) == xxh3_128(file) != first


def test_an_edit_in_place_that_keeps_size_and_time_is_seen(memory: Checksums, file: Path) -> None:
    first, before = memory.of(file), file.stat()
    with file.open("r+b") as opened:
        opened.write(b"new")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_ino == before.st_ino
    assert memory.of(file) == xxh3_128(file) != first


def test_what_was_just_written_is_remembered(memory: Checksums, file: Path) -> None:
    file.write_bytes(b"fresh")
    memory.remember(file, xxh3_128(file))
    (file.parent / "other").write_bytes(b"read")
    memory.of(file.parent / "other")
    memory._compute = lambda path: pytest.fail("was read")
    assert memory.of(file) == xxh3_128(file)
    assert memory.of(file.parent / "other") == xxh3_128(file.parent / "other")


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file: Path, tmp_path: Path) -> None:
    def slow(path: Path) -> str:
        found = xxh3_128(path)
        path.write_bytes(b"more")
        return found

    memory = Checksums(tmp_path / "state" / "checksums.sqlite", slow)
    assert memory.of(file) != xxh3_128(file)
    assert memory.known(file) is None


def test_a_memory_without_ctimes_is_still_one(memory: Checksums, file: Path) -> None:
    stat, database = file.stat(), memory._database
    database.parent.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute(
            "CREATE TABLE checksums (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, inode INTEGER, sum TEXT)"
        )
        key = os.fsencode(file), stat.st_size, stat.st_mtime_ns, stat.st_ino, "known"
        db.execute("INSERT INTO checksums VALUES (?,?,?,?,?)", key)
    assert memory.of(file) == memory.known(file) == "known"
    with file.open("r+b") as opened:
        opened.write(b"new")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert memory.of(file) == xxh3_128(file), "it knows ctimes from then on"


@pytest.mark.parametrize("damage", ["garbage", "torn", "folder", "unwritable"])
def test_a_damaged_memory_costs_time_and_nothing_else(
    memory: Checksums, file: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    value = memory.of(file)
    database = tmp_path / "state" / "checksums.sqlite"
    match damage:
        case "garbage":
            database.write_bytes(b"no database" * 1000)
        case "torn":
            database.write_bytes(database.read_bytes()[:5000])
        case "folder":
            database.unlink()
            database.mkdir()
        case "unwritable":
            database.unlink()
            database.parent.rmdir()
            database.parent.write_bytes(b"")
    assert memory.of(file) == value
    memory.remember(file, value)
    assert "files are read instead" in caplog.text
    if damage in {"garbage", "torn"}:
        caplog.clear()
        assert memory.of(file) == value
        assert not caplog.text, "begun anew"


def test_names_need_not_be_text(memory: Checksums, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")
    path.write_bytes(b"x")
    os.utime(path, ns=(0, 1))
    assert memory.of(path) == memory.of(path) == xxh3_128(path)


def test_a_file_that_cannot_be_read_is_named(memory: Checksums, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.bin cannot be read: No such file"):
        memory.of(tmp_path / "none.bin")

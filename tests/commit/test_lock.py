"""The lock in the vault: who meets there, who is told what, and what it leaves behind."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import re
import signal
import stat
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imgassets.commit import Stage, Vault, Written, lock
from imgassets.errors import StoreError, Taken
from tests.commit import victim
from tests.commit.invariants import VERSION, tree
from tests.commit.test_races import owner
from tests.commit.test_two_writers import become, bound, fork
from tests.commit.victim import Kind

OWN = ".imgassets"


def apart(work: Callable[[], None], user: int | None = None) -> None:
    """Do `work` in a process of its own, as another user; what it raises fails the test."""

    def run() -> None:
        try:
            if user is not None:
                become(user)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    process = fork.Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == 0


def never(stage: Stage) -> Written:
    raise AssertionError("nothing had to be made")


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}


def test_whoever_holds_it_is_named(scratch: Path, kind: Kind) -> None:
    with owner(scratch, kind, lambda stage: None) as pid, pytest.raises(Taken) as error:
        victim.commit(scratch, kind, VERSION)
    assert error.value.process == pid
    assert error.value.host == os.uname().nodename
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", error.value.since or "")


def test_the_path_below_the_root_alone_names_it(scratch: Path) -> None:
    names = {lock.file_of(victim.location_in(victim.vault_at(scratch / x), "file")).name for x in "ab"}
    assert len(names) == 1
    assert lock.file_of(victim.location_in(victim.vault_at(scratch), "folder")).name not in names


def test_a_second_mount_has_the_same_lock(scratch: Path) -> None:
    with bound(scratch / "store", scratch / "mirror"), owner(scratch, "folder", lambda stage: None):
        mirror = Vault(scratch / "mirror", scratch / "other-state")
        assert lock.held(victim.location_in(mirror, "folder"))
        with pytest.raises(Taken):
            mirror.commit(victim.location_in(mirror, "folder"), victim.recipe("folder", 1), never)


def test_nothing_is_left_and_a_dead_owner_s_file_goes_with_the_next(scratch: Path, kind: Kind) -> None:
    location = victim.location_in(victim.vault_at(scratch), kind)
    with owner(scratch, kind, lambda stage: None) as pid:
        assert lock.held(location)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert lock.file_of(location).exists()
        assert not lock.held(location)
    victim.commit(scratch, kind, VERSION)
    assert not (scratch / "store" / OWN / "locks").exists()


def test_what_is_proven_is_found_without_it(scratch: Path, kind: Kind) -> None:
    """Also while somebody is about to replace it."""
    victim.commit(scratch, kind, 1)
    vault = victim.vault_at(scratch)
    location = victim.location_in(vault, kind)
    with owner(scratch, kind, lambda stage: victim.write(stage, victim.FILES[kind][VERSION])):
        before = times(vault.root)
        assert not vault.commit(location, victim.recipe(kind, 1), never).fresh
        assert times(vault.root) == before
    assert location.stage.exists()
    assert not vault.commit(location, victim.recipe(kind, 1), never).fresh
    assert not location.stage.exists(), "a stage that a dead writer left is tidied away"
    assert not (vault.root / OWN / "locks").exists()
    before = times(vault.root)
    assert not vault.commit(location, victim.recipe(kind, 1), never).fresh
    assert times(vault.root) == before


@pytest.fixture
def read_only(scratch: Path) -> Iterator[Path]:
    """A mount of the vault in `scratch` that nobody can write to."""
    with bound(scratch / "store", scratch / "read-only"):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(scratch / "read-only")], check=True)
        yield scratch / "read-only"


def test_a_vault_that_cannot_be_written_proves_and_verifies(read_only: Path, scratch: Path, kind: Kind) -> None:
    victim.commit(scratch, kind, VERSION)
    vault = Vault(read_only, scratch / "other-state")
    location = victim.location_in(vault, kind)
    assert not vault.commit(location, victim.recipe(kind, VERSION), never).fresh
    vault.verify(location)
    assert not lock.held(location)
    with pytest.raises(StoreError, match=rf"{location.path} could not be written: Read-only file system"):
        vault.commit(location, victim.recipe(kind, 1), never)


@pytest.mark.parametrize("code", sorted(lock.NO_LOCKS))
def test_a_file_system_without_locks_is_said(scratch: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    vault = victim.vault_at(scratch)
    with pytest.raises(StoreError, match=rf"the file system of {vault.root} has no locks .*; mount it with them"):
        vault.commit(victim.location_in(vault, "file"), victim.recipe("file", 1), never)


def test_a_lock_that_was_removed_meanwhile_is_none(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = victim.location_in(victim.vault_at(scratch), "file")
    real, removed = fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        if not removed:  # the one before lets go between our open and our lock
            removed.append(lock.file_of(location))
            removed[0].unlink()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.Exclusive(location):
        assert removed
        assert lock.held(location)
    assert not lock.held(location)


@pytest.mark.parametrize("dies", [True, False])
def test_whoever_may_write_in_the_vault_can_lock(shared: Path, dies: bool) -> None:
    """Whatever the first one's umask and main group; also what that one was killed in."""
    location = Vault(shared, shared).location("made", "one", folder=True)

    def first() -> None:
        os.umask(0o077)
        with lock.Exclusive(location):
            for path in (lock.file_of(location), lock.file_of(location).parent, shared / OWN):
                found, whole = path.stat(), shared.stat()
                assert found.st_gid == whole.st_gid
                assert stat.S_IMODE(found.st_mode) == stat.S_IMODE(whole.st_mode) & (0o777 if path.is_dir() else 0o666)
            if dies:
                os._exit(0)

    def second() -> None:
        with lock.Exclusive(location):
            assert lock.held(location)

    apart(first, 54_322)
    assert lock.file_of(location).exists() == dies
    apart(second, 54_323)
    assert tree(shared) == {}


def test_whoever_cannot_lock_is_told_who_must_do_what(shared: Path) -> None:
    location = Vault(shared, shared).location("made", "one", folder=True)
    os.chown(shared, 0, 0)  # no group of ours any more

    def second() -> None:
        name = re.escape(pwd.getpwuid(0).pw_name)
        told = rf"{location.path} cannot be locked, for {shared} does not let this user write .* its owner {name} must"
        with pytest.raises(StoreError, match=told), lock.Exclusive(location):
            pass

    apart(second, 54_323)


def test_a_conversion_leaves_no_lock_beside_its_output(tmp_path: Path) -> None:
    from imgassets import convert
    from imgassets.testing.making import folder

    source = folder(tmp_path / "data")
    (tmp_path / "out").mkdir()
    made: Any = convert(source, tmp_path / "out" / "x")
    assert [path.name for path in made.parent.iterdir()] == ["x"]
    location = Vault(made.parent, tmp_path).location("x", folder=True)
    with lock.Exclusive(location), pytest.raises(Taken, match="out/x is being written by process"):
        convert(source, made, force=True)


def test_errors_of_the_system_are_told_as_such(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match="could not be written: Input/output error"):
        victim.commit(scratch, "file", 1)

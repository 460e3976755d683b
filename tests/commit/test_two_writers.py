"""Two writers who have nothing but the vault in common: two homes, two mounts of it, two users."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from imgassets.commit import Commit, Stage, Vault, Written
from imgassets.errors import ImgassetsError, Taken
from tests.commit import victim
from tests.commit.invariants import VERSION, tree
from tests.commit.victim import FILES, Kind

fork = get_context("fork")
GROUP = 54_321


@dataclass(frozen=True)
class Writer:
    """One who writes below `stores`, and remembers checksums in `state`; `user` is None for whoever runs the tests."""

    stores: Path
    state: Path
    user: int | None = None

    def vault(self, name: str) -> Vault:
        return Vault(self.stores / name, self.state, victim.vault_at(self.state).owner)

    def run(self, work: Callable[[], object]) -> Any:
        """A process of this user that does `work`; started."""

        def as_user() -> None:
            os.umask(0o002)
            if self.user is not None:
                become(self.user)
            work()

        process = fork.Process(target=as_user)
        process.start()
        return process


def become(user: int, *groups: int) -> None:
    """Give up being root."""
    os.setgroups([GROUP, *groups])
    os.setgid(user)
    os.setuid(user)


@pytest.fixture
def two_homes(scratch: Path) -> list[Writer]:
    return [Writer(scratch / "stores", scratch / f"state-{i}") for i in (1, 2)]


@pytest.fixture
def two_mounts(scratch: Path) -> Iterator[list[Writer]]:
    with bound(scratch / "stores", scratch / "mirror"):
        yield [Writer(scratch / name, scratch / f"state-{name}") for name in ("stores", "mirror")]


@pytest.fixture
def two_users(scratch: Path) -> list[Writer]:
    if os.getuid():
        pytest.skip("becoming another user takes root")
    scratch.chmod(0o711)
    writers = [Writer(scratch / "stores", scratch / f"state-{user}", user) for user in (54_322, 54_323)]
    for writer in writers:
        writer.state.mkdir()
        os.chown(writer.state, writer.user or 0, GROUP)
    return writers


class bound:  # noqa: N801
    """A folder at a second place; only root may have one."""

    def __init__(self, folder: Path, second: Path) -> None:
        self._folder, self._second = folder, second

    def __enter__(self) -> None:
        for path in (self._folder, self._second):
            path.mkdir(exist_ok=True)
        command = ["mount", "--bind", str(self._folder), str(self._second)]
        if os.getuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a second mount takes root")

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self._second)], check=True)  # what is mapped may be still


def make(vault: Vault, kind: Kind, version: int) -> Commit:
    def write(stage: Stage) -> Written:
        time.sleep(0.05 if os.getpid() % 2 else 0.002)
        return victim.write(stage, FILES[kind][version])

    return vault.commit(victim.location_in(vault, kind), victim.recipe(kind, version), write)


def outcome(vault: Vault, kind: Kind) -> str:
    try:
        commit = make(vault, kind, VERSION)
    except Taken:
        return "taken"
    except ImgassetsError as error:
        return str(error)
    return "made" if commit.fresh else "unchanged"


def race(writers: list[Writer], name: str, kind: Kind, start: str) -> list[str]:
    """Both at once on one new vault; returns how they end."""
    root = writers[0].vault(name).root
    root.mkdir(parents=True)
    if writers[0].user is not None:
        os.chown(root, 0, GROUP)
        root.chmod(0o2775)
    if start == "republish":
        first = writers[0].run(partial(make, writers[0].vault(name), kind, 1))
        first.join()
        assert first.exitcode == 0
    barrier, results = fork.Barrier(len(writers)), fork.SimpleQueue()

    def work(writer: Writer) -> None:
        barrier.wait()
        results.put(outcome(writer.vault(name), kind))

    processes = [writer.run(partial(work, writer)) for writer in writers]
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return found


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("start", ["first", "republish"])
@pytest.mark.parametrize("way", ["two_homes", "two_mounts", "two_users"])
def test_always_one_whole_artifact_and_no_wrong_success(
    way: str, start: str, kind: Kind, count: int, scratch: Path, request: pytest.FixtureRequest
) -> None:
    writers: list[Writer] = request.getfixturevalue(way)
    victim.commit(scratch / "undisturbed", kind, VERSION)
    whole = tree(scratch / "undisturbed" / "store")
    seen: Counter[str] = Counter()
    for i in range(count):
        ends = race(writers, f"round-{i}", kind, start)
        seen.update(ends)
        assert "made" in ends
        assert set(ends) <= {"made", "unchanged", "taken"}, ends
        assert ends.count("made") == 1
        vault = writers[1].vault(f"round-{i}")
        assert tree(vault.root) == whole, "neither more nor less than an undisturbed run leaves"
        vault.verify(victim.location_in(vault, kind))
    print(f"{count} races of {way}: {dict(seen)}")

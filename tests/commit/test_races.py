"""Several writers, readers and signals at once, in real processes."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest

from imgassets.commit import Location, Recipe, Stage, Vault, Written
from imgassets.commit.durable import make_folders
from imgassets.errors import BadInput, StoreError
from tests.commit import victim
from tests.commit.invariants import VERSION, tree
from tests.commit.victim import FILES, Kind

fork = get_context("fork")


def outcome(root: Path, kind: Kind, version: int) -> str:
    """How one of several writers fares."""
    vault = victim.vault_at(root)

    def write(stage: Stage) -> Written:
        time.sleep(0.05 if os.getpid() % 2 else 0.002)  # some are still at it when the others have tried for a while
        return victim.write(stage, FILES[kind][version])

    try:
        commit = vault.commit(victim.location_in(vault, kind), victim.recipe(kind, version), write)
    except StoreError as error:
        return "busy" if f"{commit_path(root, kind)} is being written by process " in str(error) else str(error)
    return f"made {version}" if commit.fresh else "unchanged"


def commit_path(root: Path, kind: Kind) -> Path:
    return victim.location_in(victim.vault_at(root), kind).path


def race(root: Path, kind: Kind, versions: list[int]) -> list[str]:
    """One writer per version, all at once."""
    barrier, results = fork.Barrier(len(versions)), fork.SimpleQueue()

    def work(version: int) -> None:
        barrier.wait()
        results.put(outcome(root, kind, version))

    writers = [fork.Process(target=work, args=(version,)) for version in versions]
    for writer in writers:
        writer.start()
    found = [results.get() for _ in writers]
    for writer in writers:
        writer.join()
    return found


def rounds(kind: Kind, scratch: Path, versions: list[int], count: int) -> None:
    seen: Counter[str] = Counter()
    whole = {}
    for version in set(versions):
        victim.commit(scratch / str(version), kind, version)
        whole[version] = tree(scratch / str(version) / "store")
    for i in range(count):
        root = scratch / f"round-{i}"
        results = race(root, kind, versions)
        made = [int(result.split()[1]) for result in results if result.startswith("made")]
        seen.update(result.split()[0] for result in results)
        assert made
        assert set(results) <= {"busy", "unchanged", *(f"made {version}" for version in versions)}, results
        assert tree(root / "store") in [whole[version] for version in made]
    print(f"{count} races of {len(versions)} writers: {dict(seen)}")
    assert seen["busy"]


@pytest.mark.parametrize("versions", [[2, 2], [2, 2, 2, 2], [1, 2, 3, 1]], ids=str)
def test_one_writer_wins_and_the_others_say_why_not(kind: Kind, scratch: Path, versions: list[int]) -> None:
    rounds(kind, scratch, versions, 12)


@pytest.mark.slow
@pytest.mark.parametrize("versions", [[2, 2], [2, 2, 2, 2], [1, 2, 3, 1]], ids=str)
def test_many_races(kind: Kind, scratch: Path, versions: list[int]) -> None:
    rounds(kind, scratch, versions, 200)


def test_a_writer_that_fails_next_door_disturbs_nobody(scratch: Path, kind: Kind) -> None:
    """It removes the folders it leaves empty, at the very moment in which others make and use them."""
    vault = victim.vault_at(scratch)
    stop = fork.Event()

    def commit(name: str, write: Callable[[Stage], Written]) -> Location:
        location = vault.location("demo", "deep", "asset", name, folder=kind == "folder")
        return vault.commit(location, Recipe("demo", name, {}, {}, "raw/1", "1"), write).location

    def bad(stage: Stage) -> Written:
        raise BadInput("no.npz is bad.")

    def good(stage: Stage) -> Written:
        with stage.create(stage.location.path.name) as sink:
            sink.write(b"good")
        return Written()

    def fail_on() -> None:
        while not stop.is_set():
            try:
                commit("bad", bad)
            except BadInput:
                continue
            os._exit(1)

    neighbours = [fork.Process(target=fail_on)]
    for neighbour in neighbours:
        neighbour.start()
    try:
        for i in range(300):
            location = commit(f"good-{i}", good)
            vault.verify(location)
            for path in [location.path / "x", location.manifest, location.path]:  # leave the folder empty again
                if path == location.path and kind == "folder":
                    for file in path.iterdir():
                        file.unlink()
                    path.rmdir()
                elif path.exists():
                    path.unlink()
    finally:
        stop.set()
        for neighbour in neighbours:
            neighbour.join()
    assert [neighbour.exitcode for neighbour in neighbours] == [0]


@contextmanager
def owner(root: Path, kind: Kind, work: Callable[[Stage], object]) -> Iterator[int]:
    """A process that holds an artifact's lock; yields its id."""
    ready = fork.Event()
    vault = victim.vault_at(root)

    def write(stage: Stage) -> Written:
        work(stage)
        ready.set()
        time.sleep(60)
        raise AssertionError

    def hold() -> None:
        vault.commit(victim.location_in(vault, kind), victim.recipe(kind, VERSION), write)

    process = fork.Process(target=hold)
    process.start()
    assert ready.wait(20)
    assert process.pid
    try:
        yield process.pid
    finally:
        process.kill()
        process.join()


def test_a_dead_owner_is_succeeded_and_a_live_one_never_robbed(scratch: Path, kind: Kind) -> None:
    with owner(scratch, kind, lambda stage: None) as pid:
        for state in (None, signal.SIGSTOP):  # a process that hangs is alive
            if state:
                os.kill(pid, state)
            with pytest.raises(StoreError, match=rf"is being written by process {pid} on \S+ since \S+; wait"):
                victim.commit(scratch, kind, VERSION)
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
            time.sleep(0.001)
        assert victim.commit(scratch, kind, VERSION)
    vault = victim.vault_at(scratch)
    vault.verify(victim.location_in(vault, kind))


def test_workers_that_outlive_their_owner_may_still_be_writing(scratch: Path, kind: Kind) -> None:
    helper = scratch / "helper"

    def start_helper(stage: Stage) -> None:
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        helper.write_text(str(pid))

    with owner(scratch, kind, start_helper):
        pass
    pid = int(helper.read_text())
    with pytest.raises(StoreError, match="is being written by process"):
        victim.commit(scratch, kind, VERSION)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert victim.commit(scratch, kind, VERSION)
            return
        except StoreError:
            assert time.monotonic() < deadline


def test_a_link_to_the_vault_leads_to_the_same_lock(scratch: Path) -> None:
    (scratch / "link").symlink_to(scratch / "store", target_is_directory=True)
    (scratch / "store").mkdir()
    linked = Vault(scratch / "link", scratch / "state")
    with owner(scratch, "folder", lambda stage: None), pytest.raises(StoreError, match="is being written by"):
        linked.commit(victim.location_in(linked, "folder"), victim.recipe("folder", 1), lambda stage: Written())


def test_where_no_folder_can_be_made_nobody_tries_for_ever() -> None:
    with pytest.raises(FileNotFoundError):
        make_folders(Path("/proc/nowhere/deep/down"))

"""Several writers, readers and signals at once, in real processes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from imgassets.commit import Location, Recipe, Stage, Store, Written, publish
from imgassets.errors import BadInput, ImgassetsError, MissingUpstream, StoreError
from tests.commit import victim
from tests.commit.invariants import KINDS, VERSION, Case, tree
from tests.commit.test_faults import SEED
from tests.commit.victim import FILES, Kind

fork = get_context("fork")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


def outcome(root: Path, kind: Kind, version: int) -> str:
    """How one of several writers fares."""
    store = victim.store_at(root)

    def write(stage: Stage) -> Written:
        time.sleep(0.002)
        return victim.write(stage, FILES[kind][version])

    try:
        commit = store.commit(victim.location_in(store, kind), victim.recipe(kind, version), write)
    except StoreError as error:
        return "busy" if f"{commit_path(root, kind)} is being written by process " in str(error) else str(error)
    return f"made {version}" if commit.fresh else "unchanged"


def commit_path(root: Path, kind: Kind) -> Path:
    return victim.location_in(victim.store_at(root), kind).path


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
    store = victim.store_at(scratch)
    stop = fork.Event()

    def commit(name: str, write: Callable[[Stage], Written]) -> Location:
        location = store.location("demo", "deep", "asset", name, folder=kind == "folder")
        return store.commit(location, Recipe("demo", name, {}, {}, "raw/1", "1"), write).location

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
            store.verify(location)
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
    store = victim.store_at(root)

    def write(stage: Stage) -> Written:
        work(stage)
        ready.set()
        time.sleep(60)
        raise AssertionError

    def hold() -> None:
        store.commit(victim.location_in(store, kind), victim.recipe(kind, VERSION), write)

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
    store = victim.store_at(scratch)
    store.verify(victim.location_in(store, kind))


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


def test_a_link_to_the_store_leads_to_the_same_lock(scratch: Path) -> None:
    (scratch / "link").symlink_to(scratch / "store", target_is_directory=True)
    (scratch / "store").mkdir()
    linked = Store(scratch / "link", scratch / "state")
    with owner(scratch, "folder", lambda stage: None), pytest.raises(StoreError, match="is being written by"):
        linked.commit(victim.location_in(linked, "folder"), victim.recipe("folder", 1), lambda stage: Written())


@contextmanager
def republishing(root: Path, kind: Kind, *, exchange: bool) -> Iterator[Any]:
    """A process that publishes one version after the other; yields a count of how often."""
    stop, count = fork.Event(), fork.Value("i", 0)
    victim.commit(root, kind, 1)

    def publish_on() -> None:
        missing = mock.Mock(side_effect=OSError(38, "Function not implemented"))
        with mock.patch.object(publish, "_exchange", publish._exchange if exchange else missing):
            while not stop.is_set():
                for version in (2, 3, 1):
                    victim.commit(root, kind, version)
                    count.value += 1

    process = fork.Process(target=publish_on)
    process.start()
    try:
        yield count
    finally:
        stop.set()
        process.join()
    assert process.exitcode == 0


def read_while_republished(scratch: Path, kind: Kind, seconds: float, *, exchange: bool) -> Counter[str]:
    """What a reader meets: `missing` (no such file just now), or `mixed` and `error`, which must never be."""
    met: Counter[str] = Counter()
    store = victim.store_at(scratch)
    location = victim.location_in(store, kind)
    always = "a.bin" if kind == "folder" else "x.tar"
    versions = [files[always] for files in FILES[kind].values()]
    with republishing(scratch, kind, exchange=exchange) as count:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            met["reads"] += 1
            try:
                if location.file(always).read_bytes() not in versions:
                    met["mixed"] += 1
                before = store.manifest(location)
                found = {record.name: location.file(record.name).read_bytes() for record in before.files}
                if store.manifest(location) == before and found != FILES[kind][before.recipe.config["version"]]:
                    met["mixed"] += 1
                if met["reads"] % 10 == 0:
                    store.verify(location)
            except (FileNotFoundError, MissingUpstream):
                # a version without that file came in between, which the manifest tells
                if kind == "file" or not location.file(always).exists():
                    met["missing"] += 1
            except ImgassetsError as error:
                met[f"error: {error}"] += 1
        met["publications"] = count.value
    print(f"{kind} {'exchange' if exchange else 'no-exchange'}: {dict(met)}")
    return met


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "no-exchange"])
@pytest.mark.parametrize("seconds", [1.5, pytest.param(20, marks=pytest.mark.slow)])
def test_readers_never_meet_a_mixed_or_missing_version(
    scratch: Path, kind: Kind, exchange: bool, seconds: float
) -> None:
    met = read_while_republished(scratch, kind, seconds, exchange=exchange)
    allowed = {"reads", "publications"}
    if kind == "folder" and not exchange:
        allowed.add("missing")  # a folder cannot have two names: where it cannot be exchanged there is a gap
    assert set(met) <= allowed, met
    assert met["publications"] > 10 * seconds
    assert met["reads"] > 10 * seconds


def test_a_folder_or_file_that_is_open_stays_what_it_is(scratch: Path, kind: Kind) -> None:
    victim.commit(scratch, kind, 1)
    location = victim.location_in(victim.store_at(scratch), kind)
    name = "gone/b.bin" if kind == "folder" else "x.tar"
    with open(location.file(name), "rb") as file:
        first = file.read(1000)
        for version in (2, 3):
            victim.commit(scratch, kind, version)
        assert first + file.read() == FILES[kind][1][name]


@pytest.mark.parametrize("kind", ["folder"])
@pytest.mark.parametrize("died", [1, 2, 3])
def test_what_was_set_aside_is_found_again(scratch: Path, kind: Kind, died: int) -> None:
    """Death before each of the three renames that stand for an exchange."""
    victim.commit(scratch, kind, 1)
    location = victim.location_in(victim.store_at(scratch), kind)
    old = tree(location.path)

    def die() -> None:
        real, calls = os.rename, iter(range(1, 9))

        def rename(a: Any, b: Any) -> None:
            if next(calls) == died:
                os.kill(os.getpid(), signal.SIGKILL)
            real(a, b)

        os.replace = os.rename = rename  # type: ignore[assignment]
        publish._exchange = mock.Mock(side_effect=OSError(38, "Function not implemented"))  # type: ignore[assignment]
        victim.commit(scratch, kind, 2)

    process = fork.Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert location.path.exists() == (died != 2)

    def write(stage: Stage) -> Written:
        raise BadInput("no.npz is bad.")

    store = victim.store_at(scratch)
    with pytest.raises(BadInput):  # an attempt that makes nothing new brings the old version back all the same
        store.commit(location, victim.recipe(kind, 3), write)
    found = tree(location.path)
    assert found == old if died < 3 else set(found) > {"sub", "sub/big.bin"}
    assert sorted(path.name for path in location.path.parent.iterdir()) == ["one"]


@pytest.mark.parametrize("start", ["first", "republish", "resume"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_cleans_up(scratch: Path, kind: Kind, start: Any, number: signal.Signals) -> None:
    """Ctrl-C as Python has it; SIGTERM as whoever handles it, Dagster among them, makes an exception of it."""
    case = Case(kind, start, scratch)
    print(f"FAULT_SEED={SEED}")
    dice, seen = random.Random(SEED), Counter[str]()
    for _ in range(12):
        root = case.fresh()
        ready = fork.Event()

        def work(root: Path = root, ready: Any = ready) -> None:
            signal.signal(number, signal.default_int_handler)
            os.close(2)
            ready.set()
            try:
                victim.commit(root, kind, VERSION)
            except KeyboardInterrupt:
                os._exit(7)
            except ImgassetsError:
                os._exit(8)
            os._exit(0)

        process = fork.Process(target=work)
        process.start()
        ready.wait(20)
        time.sleep(dice.uniform(0, 0.008))
        os.kill(process.pid, number)  # type: ignore[arg-type]
        process.join()
        visible = case.look(root)
        seen[f"{process.exitcode}-{visible}"] += 1
        if process.exitcode and visible != "new":
            case.untouched(root)
        elif process.exitcode:
            case.settled(root)
        case.settle(root)
    print(dict(seen))


def test_a_termination_that_nobody_handles_is_like_a_kill(scratch: Path, kind: Kind) -> None:
    case = Case(kind, "republish", scratch)
    root = case.fresh()
    with owner(root, kind, lambda stage: victim.write(stage, FILES[kind][VERSION])) as pid:
        os.kill(pid, signal.SIGTERM)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert case.look(root) == "old"
        case.settle(root)

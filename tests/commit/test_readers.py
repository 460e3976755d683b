"""Readers of an artifact that is published anew while they read."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from imgassets.commit import Stage, Written, publish
from imgassets.errors import BadInput, ImgassetsError, MissingUpstream
from tests.commit import victim
from tests.commit.invariants import tree
from tests.commit.victim import FILES, Kind

fork = get_context("fork")


def numbered(kind: Kind, number: int) -> dict[str, bytes]:
    """The files of a version; no two versions are equal, all are of one size, and each tells its number."""
    text = f"{number:09} ".encode()
    return {"x.tar": text * 7000} if kind == "file" else {"a.bin": text * 10, "sub/big.bin": text * 7000}


@contextmanager
def republishing(root: Path, kind: Kind, *, exchange: bool) -> Iterator[Any]:
    """A process that publishes one version after the other; yields a count of them."""
    stop, count = fork.Event(), fork.Value("i", 0)
    vault = victim.vault_at(root)

    def publish_next() -> None:
        files = numbered(kind, count.value)
        recipe = victim.recipe(kind, count.value)
        vault.commit(victim.location_in(vault, kind), recipe, lambda stage: victim.write(stage, files))
        count.value += 1

    def publish_on() -> None:
        while not stop.is_set():
            publish_next()

    missing = mock.Mock(side_effect=OSError(38, "Function not implemented"))
    with mock.patch.object(publish, "_exchange", publish._exchange if exchange else missing):
        publish_next()
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
    vault = victim.vault_at(scratch)
    location = victim.location_in(vault, kind)
    with republishing(scratch, kind, exchange=exchange) as count:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            met["reads"] += 1
            try:
                for name in numbered(kind, 0):
                    data = location.file(name).read_bytes()
                    met["mixed"] += data != numbered(kind, int(data[:9]))[name]
                before = vault.manifest(location)
                found = {record.name: location.file(record.name).read_bytes() for record in before.files}
                if vault.manifest(location) == before:
                    met["quiet"] += 1
                    met["mixed"] += found != numbered(kind, before.recipe.config["version"])
                if met["reads"] % 10 == 0:
                    vault.verify(location)
            except (FileNotFoundError, MissingUpstream):
                met["missing"] += 1
            except ImgassetsError as error:
                met[f"error: {error}"] += 1
        met["publications"] = count.value
    print(f"{kind} {'exchange' if exchange else 'no-exchange'}: {dict(met)}")
    return +met


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "no-exchange"])
@pytest.mark.parametrize("seconds", [1.5, pytest.param(20, marks=pytest.mark.slow)])
def test_readers_never_meet_a_mixed_or_missing_version(
    scratch: Path, kind: Kind, exchange: bool, seconds: float
) -> None:
    met = read_while_republished(scratch, kind, seconds, exchange=exchange)
    assert set(met) <= {"reads", "quiet", "publications"}, met
    assert met["publications"] > 5 * seconds
    assert met["quiet"] > 5 * seconds


def test_a_folder_or_file_that_is_open_stays_what_it_is(scratch: Path, kind: Kind) -> None:
    victim.commit(scratch, kind, 1)
    location = victim.location_in(victim.vault_at(scratch), kind)
    name = "gone/b.bin" if kind == "folder" else "x.tar"
    with open(location.file(name), "rb") as file:
        first = file.read(1000)
        for version in (2, 3):
            victim.commit(scratch, kind, version)
        assert first + file.read() == FILES[kind][1][name]


@pytest.mark.parametrize("kind", ["folder"])
@pytest.mark.parametrize("died", [1, 2, 3, 4])
def test_what_was_set_aside_is_found_again(scratch: Path, kind: Kind, died: int) -> None:
    """Death before each of the four renames by which a folder becomes a link."""
    victim.commit(scratch, kind, 1)
    location = victim.location_in(victim.vault_at(scratch), kind)
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
    assert location.path.exists() == (died != 3)

    def write(stage: Stage) -> Written:
        raise BadInput("no.npz is bad.")

    vault = victim.vault_at(scratch)
    with pytest.raises(BadInput):  # an attempt that makes nothing new brings the old version back all the same
        vault.commit(location, victim.recipe(kind, 3), write)
    found = tree(location.path)
    assert found == old if died < 4 else set(found) > {"sub", "sub/big.bin"}
    assert sorted(path.name for path in location.path.parent.iterdir()) == [*[".one.0"][: died == 4], "one"]

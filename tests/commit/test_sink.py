"""What a file that is being written promises: whole, or never finished, whatever a library makes of an error."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from imgassets.commit import Location, Recipe, ScatterSink, Sink, Stage, Vault, Written, load
from imgassets.errors import StoreError

RECIPE = Recipe("demo/numbers", "one", {}, {}, "raw/1", "1")
LARGE = b"x" * 100_000
"""More than what is gathered before it is written."""


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "store", tmp_path / "state")


def location(vault: Vault) -> Location:
    return vault.location("demo", "numbers", "one", folder=True)


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The next call of this name fails, and none after it."""

    def arm(name: str) -> None:
        real = getattr(os, name)

        def once(*args: Any) -> Any:
            monkeypatch.setattr(os, name, real)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, name, once)

    return arm


def by_write(sink: Sink | ScatterSink) -> None:
    if isinstance(sink, ScatterSink):
        sink.put(LARGE, sink.tell())
    else:
        sink.write(LARGE)


WAYS: dict[str, Callable[[Stage], Any]] = {
    "write": lambda stage: stage.create("a.bin"),
    "pwrite": lambda stage: stage.scatter("a.bin"),
}


@pytest.mark.parametrize("call", WAYS)
def test_an_error_that_a_library_drops_is_raised_again(
    vault: Vault, fail_once: Callable[[str], None], call: str
) -> None:
    seen: list[OSError] = []

    def write(stage: Stage) -> Written:
        with WAYS[call](stage) as sink:
            fail_once(call)
            for _ in range(3):
                try:
                    by_write(sink)
                except OSError as error:
                    seen.append(error)
        return Written()

    with pytest.raises(StoreError, match=r"could not be written: Input/output error \(.*/a\.bin\)"):
        vault.commit(location(vault), RECIPE, write)
    assert seen == [seen[0]] * 3
    assert not location(vault).path.exists()


@pytest.mark.parametrize("call", WAYS)
def test_an_error_that_a_library_makes_another_one_of_is_told_as_it_was(
    vault: Vault, fail_once: Callable[[str], None], call: str
) -> None:
    def write(stage: Stage) -> Written:
        with WAYS[call](stage) as sink:
            fail_once(call)
            with suppress(OSError):
                by_write(sink)
            raise RuntimeError("Can't decrement id ref count")

    with pytest.raises(StoreError, match="Input/output error"):
        vault.commit(location(vault), RECIPE, write)


@pytest.mark.parametrize("call", WAYS)
def test_a_failed_fsync_is_final(vault: Vault, fail_once: Callable[[str], None], call: str) -> None:
    def write(stage: Stage) -> Written:
        with WAYS[call](stage) as sink:
            by_write(sink)
            fail_once("fsync")
            with pytest.raises(OSError, match="Input/output error"):
                sink.close()
        return Written()

    with pytest.raises(StoreError, match="Input/output error"):
        vault.commit(location(vault), RECIPE, write)


@given(pieces=st.lists(st.binary(max_size=50), max_size=12), seed=st.randoms(), short=st.integers(1, 60))
def test_parts_lie_where_they_were_put(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], seed: Any, short: int
) -> None:
    path = tmp_path_factory.mktemp("scattered") / "a.bin"
    whole = b"".join(pieces)
    places = [(data, len(b"".join(pieces[:k]))) for k, data in enumerate(pieces)]
    seed.shuffle(places)
    real, observed = os.pwrite, list[int]()
    sink = ScatterSink(path, observed.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:short], at))
        for data, at in places:
            sink.put(data, at)
    sink.close()
    assert path.read_bytes() == whole
    assert sink.tell() == sum(observed) == len(whole)
    assert sink.digest() == xxhash.xxh3_128_hexdigest(whole)


def test_a_linked_file_is_the_one_that_was_recorded(vault: Vault) -> None:
    def make(stage: Stage) -> Written:
        with stage.create("a.bin") as sink:
            sink.write(b"abc")
        return Written()

    vault.commit(location(vault), RECIPE, make)
    record, source = load(location(vault).manifest).files[0], location(vault).file("a.bin")
    other = vault.location("demo", "numbers", "two", folder=True)

    def take(stage: Stage) -> Written:
        stage.link(source, record)
        return Written()

    assert vault.commit(other, RECIPE, take).manifest.files == (record,)
    assert source.samefile(other.file("a.bin"))
    source.write_bytes(b"abd")
    with pytest.raises(StoreError, match=rf"{source} is damaged: delete {source.parent} and run again\."):
        vault.commit(other, RECIPE, take, force=True)

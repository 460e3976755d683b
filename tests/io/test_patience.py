"""What an IO manager does while another process is making the same partition."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

from imgassets.commit import lock
from imgassets.environment import Storage
from imgassets.errors import Taken
from imgassets.io import dagster_private, patience
from imgassets.io.artifacts import Build, Builds
from imgassets.io.base import _failure
from imgassets.io.patience import patiently
from tests.lines import Line


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "POLL", 0.01)


def refused() -> str:
    raise Taken("x is being written by process 7 on node since then; wait.")


def test_it_waits_says_so_once_and_goes_on() -> None:
    said: list[str] = []
    ends = iter([refused, refused, refused, lambda: "done"])
    assert patiently(lambda: next(ends)(), said.append) == "done"
    assert said == ["waiting, 180 s at most: x is being written by process 7 on node since then; wait."]


def test_it_says_so_again_and_ends_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BOUND", 0.2)
    monkeypatch.setattr(patience, "TELL", 0.05)
    said: list[str] = []
    with pytest.raises(Taken):
        patiently(refused, said.append)
    assert 2 <= len(said) <= 5


def materialize(storage: Storage, content: Callable[[], str]) -> dg.ExecuteInProcessResult:
    @dg.asset(name="made", partitions_def=dg.StaticPartitionsDefinition(["one"]), io_manager_key="io")
    def made() -> Builds:
        return Builds(lambda key: Build(content, config={"key": key}))

    resources = {"io": Line(storage=storage)}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([made], resources=resources, instance=instance, partition_key="one", raise_on_error=False)


def never() -> str:
    raise AssertionError("it was made twice")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(raw=str(tmp_path / "raw"), store=str(tmp_path / "store"), state=str(tmp_path / "state"))


def test_what_another_one_makes_meanwhile_is_found_unchanged(storage: Storage) -> None:
    another = storage.model_copy(update={"state": f"{storage.state}-of-another"})
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        may_end.wait(20)
        return "text"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(materialize, another, slow)
        assert begun.wait(20)
        late = pool.submit(materialize, storage, never)
        with pytest.raises(TimeoutError):
            late.result(0.5)
        may_end.set()
        assert first.result().success
        (event,) = late.result().asset_materializations_for_node("made")
    assert event.metadata["state"].value == "unchanged, skipped"


def test_in_the_end_it_fails_and_may_be_tried_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BOUND", 0.1)
    location = Line(storage=storage).artifact(dg.AssetKey("made"), "one").location
    with lock.Exclusive(location):
        result = materialize(storage, never)
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "is being written by process" in failure.error_display_string
    assert _failure("made", {"one": Taken("x is being written by somebody")}, 1).allow_retries


def data_version(instance: dg.DagsterInstance) -> str:
    record = instance.get_latest_data_version_record(dg.AssetKey("made"))
    assert record is not None
    assert record.asset_materialization is not None
    (tag,) = dagster_private.data_version_tag("")
    return str((record.asset_materialization.tags or {})[tag])


def test_what_somebody_else_makes_is_come_back_to_at_the_end(storage: Storage) -> None:
    keys, tried = ["one", "two", "three"], list[str]()
    io = Line(storage=storage)

    @dg.asset(
        name="made",
        partitions_def=dg.StaticPartitionsDefinition(keys),
        io_manager_key="io",
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def made() -> Builds:
        def build(key: str) -> Build:
            def content() -> str:
                tried.append(key)
                if key == "three":
                    held.close()
                return key

            return Build(content, config={"key": key})

        return Builds(build)

    tags = {"dagster/asset_partition_range_start": "one", "dagster/asset_partition_range_end": "three"}
    with dg.DagsterInstance.ephemeral() as instance, ExitStack() as held:
        held.enter_context(lock.Exclusive(io.artifact(dg.AssetKey("made"), "one").location))
        result = dg.materialize([made], resources={"io": io}, instance=instance, tags=tags)
        assert tried == ["two", "three", "one"]
        events = [str(event.materialization.partition) for event in result.all_events if event.is_step_materialization]
        before = data_version(instance)
        assert dg.materialize([made], resources={"io": io}, instance=instance, tags=tags).success
        assert data_version(instance) == before  # whatever the order
    assert sorted(events) == sorted(keys)

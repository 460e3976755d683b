"""The sensors of a dataset ask for what they should, once, and for nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from dagster.components.testing.utils import component_defs

from imgassets.components import NpzImages, automation
from imgassets.components.automation import Cron
from tests.components.imagenet import Graph, rows, save_npz

BATCHES = ("train_data_batch_1", "train_data_batch_2", "val_data")


class Sensors:
    """A small NPZ dataset and the looks its sensors take."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **attributes: Any) -> None:
        dataset = NpzImages(
            name="images", train_batches=[1, 2], resolution=16, csv_size_gb=1e-4, stores=["memmap"], **attributes
        )
        self.graph = Graph(folder, instance, dataset)
        self.instance = instance
        self.cursors: dict[str, str | None] = {}

    def write(self, batch: str, seed: int) -> Path:
        path = self.graph.raw / f"{batch}.npz"
        path.unlink(missing_ok=True)
        save_npz(path, **rows(seed, 6))
        return path

    def look(self, sensor: str) -> set[str]:
        """Partitions that one look asks for, as `asset/partition`."""
        name = f"images_{sensor}"
        definition = self.graph.defs.resolve_sensor_def(name)
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            definitions=self.graph.defs,
            sensor_name=name,
        )
        result = definition(context)
        assert isinstance(result, dg.SensorResult)
        self.cursors[name] = result.cursor
        json.loads(result.cursor or "{}")
        found = set()
        self.run_keys = [str(request.run_key) for request in result.run_requests or []]
        for request in result.run_requests or []:
            (key,) = request.asset_selection or []
            keys = self.graph.keys(key.path[-1])
            tags = request.tags
            first = tags.get("dagster/partition") or tags["dagster/asset_partition_range_start"]
            last = tags.get("dagster/partition") or tags["dagster/asset_partition_range_end"]
            found |= {f"{key.path[-1]}/{part}" for part in keys[keys.index(first) : keys.index(last) + 1]}
        return found

    def make(self, names: set[str]) -> None:
        for name in sorted(names):
            asset, _, partition = name.partition("/")
            self.graph.run(asset, partition)


@pytest.fixture
def sensors(tmp_path: Path) -> Iterator[Sensors]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Sensors(tmp_path, instance, automation="missing")
        for number, batch in enumerate(BATCHES):
            made.write(batch, number)
        yield made


def test_makes_what_is_missing_upstream_first_and_then_rests(sensors: Sensors) -> None:
    assert sensors.look("missing") == set()  # inputs may still be growing
    first = sensors.look("missing")
    assert first == {f"npz_index/{batch}" for batch in BATCHES}
    sensors.make(first)
    second = sensors.look("missing")
    assert second == {f"arrays/{batch}" for batch in BATCHES}
    sensors.make(second)
    third = sensors.look("missing")
    assert third == {f"{asset}/{split}" for asset in ("csv_sample", "memmap_store") for split in ("train", "val")}
    sensors.make(third)
    for _ in range(3):
        assert sensors.look("missing") == set()
        assert sensors.look("inputs") == set()


def test_a_changed_input_is_indexed_again_and_nothing_else(sensors: Sensors) -> None:
    for asset in ("npz_index", "arrays", "csv_sample", "memmap_store"):
        assert sensors.graph.run(asset).success
    sensors.look("inputs")
    sensors.write("train_data_batch_2", 77)
    assert sensors.look("inputs") == set()
    sensors.write("train_data_batch_2", 78)  # it changes between two looks
    assert sensors.look("inputs") == set()
    asked = sensors.look("inputs")
    assert asked == {"npz_index/train_data_batch_2"}
    sensors.make(asked)
    assert sensors.look("inputs") == sensors.look("missing") == set()


def test_a_half_copied_file_is_left_alone(sensors: Sensors) -> None:
    path = sensors.write("val_data", 5)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(3):
        assert "npz_index/val_data" not in sensors.look("inputs")
    path.write_bytes(whole)
    assert "npz_index/val_data" not in sensors.look("inputs")
    assert "npz_index/val_data" in sensors.look("inputs")


def test_two_daemons_that_take_one_look_ask_for_the_same_runs(sensors: Sensors) -> None:
    """Dagster starts one run for each key; what is asked for in another look is another run."""
    sensors.look("missing")
    before = dict(sensors.cursors)
    keys = []
    for _ in range(2):
        sensors.cursors = dict(before)
        assert sensors.look("missing") == {f"npz_index/{batch}" for batch in BATCHES}
        keys.append(sensors.run_keys)
    assert keys[0] == keys[1]
    assert sensors.look("missing") == {f"npz_index/{batch}" for batch in BATCHES}
    assert not set(sensors.run_keys) & set(keys[0])


def test_what_somebody_stopped_waits_for_a_change(sensors: Sensors) -> None:
    sensors.look("missing")
    asked = sensors.look("missing")
    key = dg.AssetKey(["images", "npz_index"])
    job = sensors.graph.defs.resolve_implicit_global_asset_job_def()
    for name in sorted(asked):
        partition = name.rpartition("/")[2]
        run = sensors.instance.create_run_for_job(
            job.get_subset(asset_selection={key}), tags={"dagster/partition": partition}, asset_selection={key}
        )
        sensors.instance.report_run_canceled(run)
    assert sensors.look("missing") == set()


def test_what_failed_waits_for_a_change(sensors: Sensors) -> None:
    labels = rows(9, 6)
    labels["labels"][3] = 0
    path = sensors.graph.raw / "val_data.npz"
    path.unlink()
    save_npz(path, **labels)
    sensors.look("missing")
    asked = sensors.look("missing")
    sensors.make(asked)  # val_data fails
    for _ in range(3):
        assert "npz_index/val_data" not in sensors.look("missing")
    sensors.write("val_data", 10)
    sensors.look("missing")
    assert "npz_index/val_data" in sensors.look("missing")


def test_a_look_starts_few_runs(sensors: Sensors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "MOST_RUNS", 1)
    sensors.graph.run("npz_index", "train_data_batch_1")
    sensors.look("missing")
    assert sensors.look("missing") == {"npz_index/train_data_batch_2", "npz_index/val_data"}  # neighbours, one run


def test_cron_waits_for_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return now

    monkeypatch.setattr(automation, "datetime", Clock)
    with dg.DagsterInstance.ephemeral() as instance:
        sensors = Sensors(tmp_path, instance, automation=Cron("0 3 * * *"))
        for number, batch in enumerate(BATCHES):
            sensors.write(batch, number)
        for _ in range(3):
            assert sensors.look("missing") == set()
        now = datetime(2026, 3, 2, 3, 0, 30, tzinfo=UTC)
        assert sensors.look("missing") == set()  # what is there is noted
        assert sensors.look("missing") == {f"npz_index/{batch}" for batch in BATCHES}


def test_is_on_only_when_declared(tmp_path: Path) -> None:
    for declared, status in (("manual", "STOPPED"), ("missing", "RUNNING"), (Cron("@daily"), "RUNNING")):
        dataset = NpzImages(name="images", stores=[], automation=declared)  # type: ignore[arg-type]
        defs = component_defs(component=dataset)
        assert {sensor.default_status.value for sensor in defs.sensors or []} == {status}
    with pytest.raises(ValueError, match="no cron expression"):
        Cron("every night")


@pytest.mark.parametrize(("given", "expected"), [("missing", "missing"), ({"cron": "0 3 * * *"}, Cron("0 3 * * *"))])
def test_is_an_attribute_of_the_yaml(given: Any, expected: Any) -> None:
    loaded = NpzImages.from_attributes_dict(attributes={"name": "images", "automation": given})
    assert loaded.automation == expected


def test_dagster_marks_exactly_the_descendants_of_a_change(sensors: Sensors) -> None:
    graph = sensors.graph

    def stale() -> set[str]:
        return {
            f"{asset}/{key}"
            for asset in ("arrays", "csv_sample")
            for key in graph.keys(asset)
            if resolver.get_status(dg.AssetKey(["images", asset]), key) is not StaleStatus.FRESH
        }

    def fresh_resolver() -> CachingStaleStatusResolver:
        assets = graph.defs.resolve_asset_graph()
        loading = LoadingContextForTest(sensors.instance)
        return CachingStaleStatusResolver(sensors.instance, assets, loading)

    for asset in ("npz_index", "arrays", "csv_sample"):
        for key in graph.keys(asset):
            assert graph.run(asset, key).success
    resolver = fresh_resolver()
    assert stale() == set()
    assert graph.run("npz_index", "val_data", force=True).success  # the same bytes again
    resolver = fresh_resolver()
    assert stale() == set()
    sensors.write("val_data", 50)
    assert graph.run("npz_index", "val_data").success
    resolver = fresh_resolver()
    assert stale() == {"arrays/val_data"}  # Dagster looks one step down; `imgassets status` all the way
    assert graph.run("arrays", "val_data").success
    resolver = fresh_resolver()
    assert stale() == {"csv_sample/val"}


def test_every_dataset_can_look_after_itself() -> None:
    from imgassets.definitions import defs

    loaded = defs()
    groups = {key.path[0] for key in loaded.resolve_asset_graph().materializable_asset_keys}
    assert {sensor.name for sensor in loaded.sensors or []} == {
        f"{group}_{kind}" for group in groups for kind in ("inputs", "missing")
    }

"""Plans and passports of CT shards, on a small grid."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from imgassets.operations.passport import passport
from imgassets.operations.plan import plan
from imgassets.operations.selection import register_again
from imgassets.operations.view import view
from imgassets.planning.graph import Graph
from imgassets.sample_data.ct_rate import BLANK, files
from imgassets.sources import hub
from tests.components.ct.test_volumes import SHAPE, SPACING, World, mirror


@pytest.fixture(autouse=True)
def _dispose() -> Iterator[None]:
    yield
    while World.instances:
        World.instances.pop().dispose()


@pytest.fixture
def world(tmp_path: Path) -> World:
    content = dict(files(shape=SHAPE, spacing=SPACING))
    return World(tmp_path, mirror(tmp_path / "mirror", content))


def graph_of(world: World) -> Graph:
    return Graph.of(world.definitions.get_repository_def(), world.definitions.resources or {})


def test_a_volume_is_traced_to_its_file_and_back(world: World) -> None:
    split = world.all("train")
    graph = graph_of(world)
    seen = []
    for key in world.partitions("train"):
        shard = graph.assets[dg.AssetKey(["ct", "shards"])].artifact(key).open()
        for row, record in enumerate(shard.samples):
            known = passport(graph, world.instance, f"ct/shards/{key}", row)
            assert known.row.about["key"] == record.key
            assert known.source is not None
            path = world.folder / "mirror" / known.source.file
            assert path.name == f"{record.key}.nii.gz"
            assert known.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
            volume = split[split.study_ids.index(record.key)].volume
            assert known.row.place.sha256 == hashlib.sha256(volume.tobytes()).hexdigest()
            (index,) = known.twins
            assert index.about["key"] == record.key
            assert "report" not in index.about
            back = passport(graph, world.instance, "ct/volume_index/train", index.row)
            assert [(twin.name, twin.row) for twin in back.twins] == [(f"ct/shards/{key}", row)]
            seen.append(record.key)
    assert seen == split.study_ids


def test_shards_weigh_what_was_planned(world: World) -> None:
    graph = graph_of(world)
    index, shards, manifest = graph.assets.values()
    for split in ("train", "valid"):
        world.make("volume_index", split)
    planned = plan(graph, [(shards, shards.keys(world.instance)), (manifest, ["train", "valid"])], world.instance)
    assert planned.totals["unknown"] == 0
    sample = planned.steps[0].write
    for split in ("train", "valid"):
        world.all(split)
    for step in planned.steps:
        asset = shards if step.asset == "ct/shards" else manifest
        made = asset.artifact(step.partition).manifest
        skipped = any(entry["key"] == BLANK for entry in made.exceptions)
        assert step.write is not None
        if asset is manifest:
            assert step.write == pytest.approx(made.total_bytes, rel=0.1)
        elif not skipped:
            assert step.write == made.total_bytes
        assert step.seconds is not None
    assert sample is not None
    again = plan(graph, [(index, ["train"]), (shards, shards.keys(world.instance))], world.instance, force=True)
    assert {step.verdict for step in again.steps} == {"build"}  # an index made again is the same index


def test_a_plan_of_everything_before_anything_is_there(world: World) -> None:
    graph = graph_of(world)
    wanted = [(asset, asset.keys(world.instance)) for asset in graph.assets.values()]
    steps = plan(graph, wanted, world.instance).steps
    assert {(step.asset, step.verdict) for step in steps} == {("ct/volume_index", "build"), ("ct/manifest", "build")}
    assert any("is made first" in step.reason for step in steps)


def test_a_hub_that_does_not_answer_keeps_no_plan_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LOOK_TIMEOUT", 0.5)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        world = World(tmp_path, "owner/name")
        graph = graph_of(world)
        index = graph.assets[dg.AssetKey(["ct", "volume_index"])]
        started = time.monotonic()
        steps = plan(graph, [(index, ["train", "valid"])], world.instance).steps
        assert time.monotonic() - started < 10
    assert {step.verdict for step in steps} == {"cannot"}
    assert all(step.reason.startswith("Failed to look up owner/name: ") for step in steps)
    assert "attempts" not in steps[0].reason


def test_a_plan_does_not_read_a_mirror(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(world)
    index = graph.assets[dg.AssetKey(["ct", "volume_index"])]

    def steps() -> list[str]:
        return [step.verdict for step in plan(graph, [(index, ["train"])], world.instance).steps]

    assert steps() == ["build"]
    assert not (world.folder / "state").exists()
    world.make("volume_index", "train")
    assert steps() == ["keep"]


def test_a_new_database_is_told_of_the_shards_that_there_are(world: World, tmp_path: Path) -> None:
    world.all("train")
    graph = graph_of(world)
    shards = graph.assets[dg.AssetKey(["ct", "shards"])]
    with dg.DagsterInstance.ephemeral() as instance:
        assert shards.keys(instance) == []
        register_again(graph, instance)
        assert shards.keys(instance) == world.partitions("train")
        assert len(view(shards, shards.keys(instance), tmp_path / "view")) == len(world.partitions("train"))
        instance.delete_dynamic_partition("ct_shards", shards.keys(instance)[0])
        kept = shards.keys(instance)
        register_again(graph, instance)
        assert shards.keys(instance) == kept  # what it knows is for the index to say

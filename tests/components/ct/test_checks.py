"""The checks of CT artifacts find what they are for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from imgassets.components.ct.checks import _counts_add_up, _samples_valid
from imgassets.formats.ct_split import map_volume
from imgassets.io.artifacts import Artifact
from imgassets.sample_data.ct_rate import files
from tests.components.ct.test_volumes import SHAPE, SPACING, World, mirror


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    content = dict(files({"valid": ("valid_1_a_1", "valid_2_a_1", "valid_3_a_1")}, shape=SHAPE, spacing=SPACING))
    world = World(tmp_path, mirror(tmp_path / "mirror", content))
    world.all("valid")
    yield world
    World.instances.pop().dispose()


def artifact(world: World, asset: str, partition: str) -> Artifact:
    resources: Any = world.definitions.resources
    manager = resources[{"shards": "ct_shard_io", "manifest": "ct_manifest_io"}[asset]]
    found: Artifact = manager.artifact(dg.AssetKey(["ct", asset]), partition)
    return found


@pytest.mark.parametrize("value", [0.5, np.nan, 1.5, -1.5])
def test_a_voxel_that_changed_is_found(world: World, value: float) -> None:
    shard = artifact(world, "shards", "valid-000000")
    assert _samples_valid(shard).passed
    record = shard.open().samples[1]
    changed = np.memmap(shard.location.path, "<f2", "r+", record.members["bin"][0], record.shape)
    changed[3, 4, 5] = value
    changed.flush()
    finding = _samples_valid(shard)
    assert not finding.passed
    assert finding.text == f"{record.key} is not sound"


def test_a_shard_that_is_not_listed_and_a_total_that_is_wrong_are_found(world: World) -> None:
    manifest = artifact(world, "manifest", "valid")
    assert _counts_add_up(manifest).passed
    stray = manifest.location.path.with_name("shard-000009.tar")
    stray.write_bytes(b"")
    assert not _counts_add_up(manifest).passed
    stray.unlink()
    text = manifest.location.path.read_text()
    document = json.loads(text)
    document["total_shards"] += 1
    changed = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    assert len(changed) == len(text)
    manifest.location.path.write_text(changed)
    assert not _counts_add_up(manifest).passed


def test_a_map_is_private(world: World) -> None:
    shard = artifact(world, "shards", "valid-000000")
    before = shard.location.path.read_bytes()
    map_volume(shard.location.path, shard.open().samples[0])[:] = 0
    assert shard.location.path.read_bytes() == before

"""The one entry point: what it loads, what it must not load, and what everything in it has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from imgassets.definitions import defs
from imgassets.io.base import ArtifactIOManager
from tests.definitions.snapshot import FOLDER, graph

HEAVY = (
    *("torch", "pyarrow", "h5py", "huggingface_hub", "webdataset"),
    *("numba", "llvmlite", "pandas", "PIL", "sqlalchemy"),
)
LOADED = defs()
ASSETS = sorted(LOADED.resolve_asset_graph().materializable_asset_keys)


def asset(key: dg.AssetKey) -> dg.AssetsDefinition:
    return LOADED.resolve_assets_def(key)


def test_everything_that_is_declared_can_be_loaded() -> None:
    dg.Definitions.validate_loadable(LOADED)


@pytest.mark.parametrize("dataset", sorted(path.stem for path in FOLDER.glob("*.txt")))
def test_the_graph_is_the_snapshot(dataset: str) -> None:
    """Names are what people's commands, run history and files hang on. `python -m tests.definitions.snapshot`."""
    assert graph()[dataset] == (FOLDER / f"{dataset}.txt").read_text()


def test_the_guides_modes_are_jobs() -> None:
    assert {"inspect", "binary", "csv_only", "full"} <= {job.name for job in LOADED.resolve_all_job_defs()}


def test_loading_imports_nothing_heavy() -> None:
    script = (
        "import sys; from imgassets.definitions import defs; "
        "[_ for _ in defs().resolve_all_job_defs()]; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_the_test_above_would_see_a_heavy_import() -> None:
    script = "import sys, pyarrow; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("key", ASSETS, ids=dg.AssetKey.to_user_string)
def test_an_asset_says_what_it_is(key: dg.AssetKey) -> None:
    spec = asset(key).specs_by_key[key]
    assert len(spec.description or "") > 40
    assert spec.group_name == key.path[0]
    assert spec.kinds
    assert spec.owners
    assert spec.code_version


@pytest.mark.parametrize("key", ASSETS, ids=dg.AssetKey.to_user_string)
def test_an_asset_is_committed_by_one_of_our_io_managers(key: dg.AssetKey) -> None:
    """Dagster's own default pickles."""
    name = asset(key).get_io_manager_key_for_asset_key(key)
    assert isinstance((LOADED.resources or {})[name], ArtifactIOManager), name


@pytest.mark.parametrize("key", ASSETS, ids=dg.AssetKey.to_user_string)
def test_an_asset_can_be_forced_and_backfilled_in_few_runs(key: dg.AssetKey) -> None:
    definition = asset(key)
    assert "force" in definition.op.config_schema.as_field().config_type.fields
    policy = definition.backfill_policy
    assert policy is not None
    partitions = definition.partitions_def
    if isinstance(partitions, dg.StaticPartitionsDefinition) and len(partitions.get_partition_keys()) > 10:
        assert policy.max_partitions_per_run is None or policy.max_partitions_per_run > 1


@pytest.mark.parametrize("key", ASSETS, ids=dg.AssetKey.to_user_string)
def test_a_field_of_the_run_configuration_is_described(key: dg.AssetKey) -> None:
    fields = asset(key).op.config_schema.as_field().config_type.fields
    assert [name for name, field in fields.items() if not field.description] == []


def test_a_check_says_what_it_proves() -> None:
    assets = LOADED.resolve_asset_graph()
    assert assets.asset_check_keys
    for key in assets.asset_check_keys:
        description = assets.get_check_spec(key).description
        assert len(description or "") > 40, key


def test_the_entry_point_is_short() -> None:
    import imgassets.definitions as module

    assert len(Path(str(module.__file__)).read_text().splitlines()) < 60

"""Names that stand in users' files: in their YAML, code, `dagster.yaml`, shells and schedules. They stay."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest
from dagster_shared.yaml_utils.sample_yaml import generate_sample_yaml

import imgassets
from imgassets.definitions import defs
from imgassets.environment import Device, Storage

COMPONENTS = ("Activations", "CtVolumes", "IlsvrcTars", "ImageFolder", "NpzImages", "TorchDataset")
RESOURCES = {
    *(
        "storage",
        "engine",
        "device",
        "io_manager",
        "index_io",
        "arrays_io",
        "systemds_io",
        "tfrecords_io",
        "tfds_io",
        "embedding_io",
    ),
    *("ct_index_io", "ct_shard_io", "ct_manifest_io", "ct_card_io", "activations_io", "reconstructions_io"),
    *("memmap_io", "hdf5_io", "parquet_io", "ipc_io", "tar_io"),
}
JOBS = {
    *("inspect", "binary", "csv_only", "full", "imagenet64_stores", "ilsvrc2012_stores", "mini_stores"),
    *("ct_rate_index", "ct_rate_shards", "ct_rate_manifest"),
}
VARIABLES = {
    *("DAGSTER_HOME", "IMGASSETS_RAW", "IMGASSETS_STORE", "IMGASSETS_TFRECORD_SHARDS", "IMGASSETS_ENGINE"),
    *("IMGASSETS_CT_REPO", "IMGASSETS_CT_SAMPLES_PER_SHARD", "IMGASSETS_CT_SHOW_REPORTS"),
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_components_of_yaml_files(name: str) -> None:
    assert issubclass(getattr(import_module("imgassets.components"), name), dg.Component)


@pytest.mark.parametrize("name", COMPONENTS)
def test_dagster_can_make_a_sample_of_their_yaml(name: str) -> None:
    """It does so for each component that a package registers, whenever it loads definitions."""
    model = getattr(import_module("imgassets.components"), name).get_model_cls()
    assert model is not None
    assert f"type: imgassets.components.{name}" in generate_sample_yaml(
        f"imgassets.components.{name}", model.model_json_schema()
    )


def test_the_launcher_of_dagster_yaml() -> None:
    assert import_module("imgassets.operations.launcher").LocalRunLauncher.__name__ == "LocalRunLauncher"


def test_resources_and_io_managers() -> None:
    assert set(defs().resources or {}) >= RESOURCES


def test_fields_of_resources_that_run_configuration_sets() -> None:
    assert set(Storage.model_fields) >= {"raw", "store", "state"}
    assert set(Device.model_fields) >= {"device", "dtype", "compile", "max_batch"}


def test_jobs() -> None:
    assert {job.name for job in defs().resolve_all_job_defs()} >= JOBS


def test_variables() -> None:
    package = Path(imgassets.__file__).parent
    texts = {
        word
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in node.value.split()
    }
    texts |= {word for path in package.rglob("*.yaml") for word in path.read_text().replace("'", " ").split()}
    assert texts >= VARIABLES

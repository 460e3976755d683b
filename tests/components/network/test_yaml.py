"""The network as a YAML file."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

DATA = """
type: imgassets.components.NpzImages
attributes: {name: imagenet64, train_batches: [1, 2]}
"""
FOLDERS = """
type: imgassets.components.ImageFolder
attributes: {name: mini, splits: {train: a, test: b}, stores: [memmap], classes: imagenet}
"""
NETWORK = """
type: imgassets.components.Activations
attributes:
  name: dmd2
  npz: imagenet64
  layers: [midblock, decoder_block_3]
  conditioning_sigma: 0.5
  input_mode: noised
  num_samples: 100
  classes: ["278", n01440764]
  balanced: true
  score: {files: dmd2/activations/*/features.parquet, column: midblock_norm}
  percentile: [10, 90]
  dtype: bf16
  storage: pooled
  enlarge: lanczos
  generated_chunks: 3
"""

# Dagster's own way of reading YAML
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")


@pytest.fixture(autouse=True)
def no_raw_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGASSETS_RAW", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))


def load(network: str) -> dg.Definitions:
    with create_defs_folder_sandbox() as box:
        for name, text in (("imagenet64", DATA), ("mini", FOLDERS), ("dmd2", network)):
            (box.defs_folder_path / name).mkdir()
            (box.defs_folder_path / name / "defs.yaml").write_text(text)
        with box.build_all_defs() as defs:
            return defs


def test_every_attribute_is_read_and_partitions_follow_the_dataset() -> None:
    made = {key: asset for asset in load(NETWORK).assets or [] for key in asset.keys}  # type: ignore[union-attr]
    batches = ["train_data_batch_1", "train_data_batch_2", "val_data"]
    for asset, keys in (("activations", batches), ("embedding", ["train", "val"]), ("generated", ["0", "1", "2"])):
        definition = made[dg.AssetKey(["dmd2", asset])]
        assert definition.partitions_def is not None
        assert definition.partitions_def.get_partition_keys() == keys
    activations = made[dg.AssetKey(["dmd2", "activations"])]
    assert {key.to_user_string() for key in activations.dependency_keys} == {
        "imagenet64/npz_index",
        "imagenet64/arrays",
    }
    assert activations.op.pool == "gpu"


def test_a_folder_dataset_has_assets_of_its_own_name() -> None:
    network = NETWORK.replace("name: dmd2", "name: mini").replace("npz: imagenet64", "folder: mini")
    made = {key: asset for asset in load(network).assets or [] for key in asset.keys}  # type: ignore[union-attr]
    activations = made[dg.AssetKey(["mini", "activations"])]
    assert activations.partitions_def is not None
    assert activations.partitions_def.get_partition_keys() == ["train", "test"]
    assert not list(activations.dependency_keys)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("npz: imagenet64", "npz: imagenet64\n  folder: mini", "one input is needed, npz or folder"),
        ("npz: imagenet64", "seed: 3", "one input is needed"),
        ("decoder_block_3", "decoder_block_0", "unknown layer 'decoder_block_0'"),
        ("sigma: 0.5", "sigma: 0", "conditioning_sigma=0"),
        ("sigma: 0.5", "sigma: .inf", "conditioning_sigma=inf"),
        ("noised", "noisy", "noisy"),
        ("column: midblock_norm", "colum: midblock_norm", "colum"),
    ],
)
def test_a_mistake_is_found_when_definitions_load(old: str, new: str, says: str) -> None:
    assert old in NETWORK
    with pytest.raises(Exception) as caught:
        load(NETWORK.replace(old, new))
    chain: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__ or error.__context__
    assert any(says in text for text in chain), chain

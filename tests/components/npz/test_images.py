"""ImageNet in NPZ batches, end to end in this process: every value judged by NumPy and a class table of its own."""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from imgassets.formats.systemds_binary import HEADER
from imgassets.sample_data import imagenet64
from tests.components.imagenet import Graph, graph, rows, save_npz

TRAIN = [f"train_data_batch_{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """The sample data, all three assets of it."""
    with graph(tmp_path_factory.mktemp("sample"), imagenet64.write, name="imagenet64") as sample:
        for asset in ("npz_index", "arrays"):
            assert sample.run(asset).success
        assert sample.run("csv_sample", csv_size_gb=0.02).success
        yield sample


def batch(sample: Graph, name: str) -> dict[str, np.ndarray]:
    with np.load(sample.raw / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def class_table() -> tuple[dict[int, int], dict[int, str]]:
    """class_id and synset by devkit label, from the published table alone."""
    text = resources.files("imgassets").joinpath("imagenet_classes.csv").read_text()
    synset = {int(row["clsloc_id"]): row["synset"] for row in csv.DictReader(io.StringIO(text))}
    ranks = {name: rank for rank, name in enumerate(sorted(synset.values()))}
    return {label: ranks[name] for label, name in synset.items()}, synset


def csv_files(sample: Graph, split: str, size: str = "0.02") -> tuple[np.ndarray, np.ndarray]:
    """Data as float32 and labels as integers, read by NumPy's own parser."""
    folder = sample.store / "csv_sample" / split
    data = np.loadtxt(folder / f"imagenet_{split}_{size}GB.csv", np.float32, delimiter=",", ndmin=2)
    labels = np.loadtxt(folder / f"imagenet_{split}_labels_{size}GB.csv", np.int64, delimiter=",", ndmin=2)
    return data, labels


def test_index_counts_in_natural_order_and_maps_every_label(made: Graph) -> None:
    class_ids, synsets = class_table()
    assert class_ids[1] != 0  # the two numberings differ, so a mistaken one shows
    for split in (TRAIN, ["val_data"]):
        first = 0
        for name in split:
            labels = batch(made, name)["labels"].tolist()
            table = made.artifact("npz_index", name).open().table().to_pydict()
            assert table == {
                "global_index": list(range(first, first + len(labels))),
                "file": [f"{name}.npz"] * len(labels),
                "row": list(range(len(labels))),
                "devkit_label": labels,
                "class_id": [class_ids[label] for label in labels],
                "synset": [synsets[label] for label in labels],
            }
            first += len(labels)


def test_report_has_counts_and_statistics(made: Graph) -> None:
    for name in ("train_data_batch_1", "train_data_batch_2", "val_data"):  # stored, deflated, without a mean
        raw = batch(made, name)
        report = made.artifact("npz_index", name).open().report
        assert report["labels"]["counts"] == np.bincount(raw["labels"], minlength=1001)[1:].tolist()
        planes = raw["data"].reshape(-1, 3, 64 * 64)
        for channel, letter in enumerate("RGB"):
            found = report["channels"][letter]
            assert found["min"] == planes[:, channel].min()
            assert found["max"] == planes[:, channel].max()
            assert found["mean"] == pytest.approx(planes[:, channel].mean())
            assert found["std"] == pytest.approx(planes[:, channel].std())
        if "mean" in raw:
            difference = np.abs(raw["data"].mean(axis=0) - raw["mean"]).max()
            assert report["mean_difference"] == pytest.approx(difference)
        else:
            assert report["mean_difference"] is None


def test_arrays_are_the_pixels_and_class_ids(made: Graph) -> None:
    class_ids, _ = class_table()
    for name in [*TRAIN, "val_data"]:
        raw, folder = batch(made, name), made.store / "arrays" / name
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert np.array_equal(images, raw["data"].reshape(-1, 3, 64, 64))
        assert labels.tolist() == [class_ids[label] for label in raw["labels"].tolist()]
        assert sorted(path.name for path in folder.iterdir()) == [".imgassets.json", "images.npy", "labels.npy"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_csv_cells_are_the_pixels_of_the_rows_it_names(made: Graph, split: str) -> None:
    names = TRAIN if split == "train" else ["val_data"]
    pixels = np.concatenate([batch(made, name)["data"] for name in names])
    labels = np.concatenate([batch(made, name)["labels"] for name in names])
    chosen = made.artifact("csv_sample", split).open().global_index
    data, onehot = csv_files(made, split)
    assert len(np.unique(chosen)) == len(chosen) == len(data)
    assert np.array_equal(data, pixels[chosen].astype(np.float32) / np.float32(255))
    assert np.array_equal(onehot, np.eye(1000, dtype=np.int64)[labels[chosen] - 1])


def test_a_sample_is_stratified_and_fills_its_size(made: Graph) -> None:
    folder = made.store / "csv_sample" / "train"
    files = [folder / "imagenet_train_0.02GB.csv", folder / "imagenet_train_labels_0.02GB.csv"]
    lines = [file.read_bytes().splitlines(keepends=True) for file in files]
    assert 0 <= int(0.02 * 2**30) - sum(file.stat().st_size for file in files) < max(map(len, lines[0])) + 2000
    labels = np.concatenate([batch(made, name)["labels"] for name in TRAIN])
    assert len(lines[0]) < len(labels)
    share = np.bincount(labels, minlength=1001) * len(lines[0]) / len(labels)
    counts = np.bincount(labels[made.artifact("csv_sample", "train").open().global_index], minlength=1001)
    assert np.abs(counts - share).max() <= 1


def test_a_smaller_sample_is_a_prefix_of_a_larger_one_and_replaces_it(made: Graph) -> None:
    folder = made.store / "csv_sample" / "train"

    def contents() -> list[bytes]:
        return [path.read_bytes() for path in sorted(folder.glob("*.csv"))]

    assert made.run("csv_sample", "train", csv_size_gb=0.02).success
    large = contents()
    assert made.run("csv_sample", "train", csv_size_gb=0.005).success
    assert sorted(path.name for path in folder.iterdir()) == [
        ".imgassets.json",
        "imagenet_train_0.005GB.csv",
        "imagenet_train_0.005GB.csv.mtd",
        "imagenet_train_labels_0.005GB.csv",
        "imagenet_train_labels_0.005GB.csv.mtd",
        "sample.json",
    ]
    small = contents()
    assert all(0 < len(less) < len(more) and more.startswith(less) for less, more in zip(small, large, strict=True))
    assert made.run("csv_sample", "train", csv_size_gb=0.005, seed=1).success
    assert contents()[0] != small[0]
    assert made.run("csv_sample", "train", csv_size_gb=0.02, reset=["seed"]).success
    assert contents() == large


def test_larger_than_the_data_is_every_row_once_and_a_warning(made: Graph) -> None:
    result = made.run("csv_sample", "val", csv_size_gb=1.5)
    assert result.success
    found = result.metadata["val"]
    assert found["dagster/row_count"] == found["available_rows"] == imagenet64.VAL_ROWS
    assert found["all_rows"] is True
    assert sorted(made.artifact("csv_sample", "val").open().global_index) == list(range(imagenet64.VAL_ROWS))
    check = result.checks["size_reached", "val"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "smaller than the requested size" in str(check.description)
    others = [found for (name, _), found in result.checks.items() if name != "size_reached"]
    assert others
    assert all(found.passed for found in others)
    assert made.run("csv_sample", "val", csv_size_gb=0.02).success


def test_metadata_and_checks_of_a_ranged_run(made: Graph) -> None:
    result = made.run("npz_index", force=True)
    assert sorted(result.metadata) == sorted([*TRAIN, "val_data"])
    for name, found in result.metadata.items():
        assert found["dagster/row_count"] == len(batch(made, name)["labels"])
        assert found["state"] == "built"
        assert found["path"] == str(made.store / "npz_index" / name)
        assert "<svg" in _decoded(found["images_per_class"])
        assert {"bytes", "seconds", "MB/s", "checksum", "files"} <= set(found)
    assert {partition for name, partition in result.checks if name == "index_complete"} >= {*TRAIN, "val_data"}
    assert all(found.passed for found in result.checks.values())
    arrays = made.run("arrays", "train_data_batch_2", force=True)
    (shown,) = arrays.metadata.values()
    assert shown["contact_sheet"].startswith("![Images spread over the partition](data:image/jpeg;base64,")
    assert len(shown["contact_sheet"]) < 70_000


def _decoded(markdown: str) -> str:
    match = re.search(r"base64,([^)]*)\)", markdown)
    assert match
    return b64decode(match[1]).decode()


def test_an_unchanged_rerun_of_everything_touches_nothing(made: Graph) -> None:
    root = Path(made.storage.store)
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    states = [made.run("npz_index").metadata, made.run("arrays").metadata]
    states.append(made.run("csv_sample", csv_size_gb=0.02).metadata)
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before
    assert {found["state"] for metadata in states for found in metadata.values()} == {"unchanged, skipped"}


def test_the_same_bytes_wherever_they_are_made(made: Graph, tmp_path: Path) -> None:
    with graph(tmp_path / "other place", imagenet64.write, name="imagenet64") as again:
        for asset in ("npz_index", "arrays"):
            for key in reversed(again.keys(asset)):
                assert again.run(asset, key).success
        assert again.run("csv_sample", csv_size_gb=0.02).success
        assert again.files() == made.files()


YAML = """
type: imgassets.components.NpzImages
attributes:
  name: imagenet32
  resolution: 32
  train_batches: [10, 2]
  csv_size_gb: 0.002
  seed: 7
  binary_block: true
"""


# Dagster's own way of reading YAML
@pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")
def test_another_resolution_is_a_yaml_file_away(tmp_path: Path) -> None:
    with create_defs_folder_sandbox() as box:
        (box.defs_folder_path / "imagenet32").mkdir()
        (box.defs_folder_path / "imagenet32" / "defs.yaml").write_text(YAML)
        with box.build_component_tree() as tree:
            component: Any = tree.load_component(box.defs_folder_path / "imagenet32")
    raw = {"train_data_batch_2": rows(2, 70, 32), "train_data_batch_10": rows(10, 60, 32), "val_data": rows(0, 9, 32)}
    with dg.DagsterInstance.ephemeral() as instance:
        small = Graph(tmp_path, instance, component)
        for name, members in raw.items():
            save_npz(small.raw / f"{name}.npz", **members)
        save_npz(small.raw / "train_data_batch_1.npz", **rows(1, 3, 32))  # not declared, so no matter
        assert small.keys("arrays") == ["train_data_batch_2", "train_data_batch_10", "val_data"]
        for asset in ("npz_index", "arrays", "csv_sample"):
            assert small.run(asset).success
        images = small.artifact("arrays", "train_data_batch_10").open().images
        assert np.array_equal(images, raw["train_data_batch_10"]["data"].reshape(-1, 3, 32, 32))
        assert small.artifact("npz_index", "train_data_batch_10").open().report["first_row"] == 70
        sample = small.artifact("csv_sample", "train").open()
        chosen = sample.global_index
        assert 0 < len(chosen) < 130
        pixels = np.concatenate([raw["train_data_batch_2"]["data"], raw["train_data_batch_10"]["data"]])[chosen]
        assert np.array_equal(np.concatenate(list(sample.pixels())), pixels)
        assert json.loads((sample.folder / "sample.json").read_text())["notes"]["seed"] == 7
        block = (sample.folder / "imagenet_train_0.002GB.bin").read_bytes()
        cells = np.frombuffer(block, ">f8", 1000 * len(chosen), len(HEADER) + 33).reshape(len(chosen), 1000)
        assert np.array_equal(cells.astype(np.float32), pixels[:, :1000].astype(np.float32) / np.float32(255))


def test_binary_block_as_run_configuration_adds_twins(made: Graph) -> None:
    folder = made.store / "csv_sample" / "val"
    before = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    assert made.run("csv_sample", "val", csv_size_gb=0.02, binary_block=True).success
    assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == before
    blocks = [path for path in folder.iterdir() if path.name.endswith(".bin")]
    assert sorted(path.name for path in blocks) == ["imagenet_val_0.02GB.bin", "imagenet_val_labels_0.02GB.bin"]
    for path in blocks:
        meta = json.loads(path.with_name(path.name + ".mtd").read_text())
        assert meta["format"] == "binary"
        assert meta["rows"] == len(csv_files(made, "val")[0])
    assert made.run("csv_sample", "val", csv_size_gb=0.02, reset=["binary_block"]).success
    assert not list(folder.glob("*.bin*"))


@pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")
@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ("name: x\n  resolutoin: 32", "resolutoin"),
        ("resolution: 32", "name"),
        ("name: x\n  resolution: large", "resolution"),
        ("name: x\n  resolution: 63", "resolution"),
        ("name: x\n  csv_size_gb: many", "csv_size_gb"),
        ("name: x\n  csv_size_gb: -1", "csv_size_gb"),
        ("name: x\n  train_batches: [1, one]", "train_batches"),
        ("name: x\n  train_batches: [1, 1]", "train_batches"),
        ("name: x\n  train_batches: [-1]", "train_batches"),
        ("name: x\n  train_batches: []\n  val: false", "train_batches"),
        ("name: ../x", "name"),
    ],
)
def test_a_mistake_in_the_yaml_is_reported_by_name_and_place(attributes: str, says: str) -> None:
    with create_defs_folder_sandbox() as box:
        (box.defs_folder_path / "x").mkdir()
        (box.defs_folder_path / "x" / "defs.yaml").write_text(
            f"type: imgassets.components.NpzImages\nattributes:\n  {attributes}\n"
        )
        with pytest.raises(Exception) as caught, box.build_all_defs():
            pass
    chain, error = [], caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    assert any("defs.yaml" in text for text in chain), chain
    assert any(says in text for text in chain), chain


def test_unknown_run_configuration_is_refused(made: Graph) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="csv_size"):
        made.run("csv_sample", "val", csv_size=1)

"""Each asset check is green on what is right, and red, with its reason, on what was damaged to fool it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa  # noqa: TID253  (only tests load this)
import pyarrow.parquet as pq  # noqa: TID253
import pytest

from imgassets.commit import xxh3_128
from imgassets.sample_data.pictures import picture
from tests.components.imagenet import Graph, graph, rows, save_npz

INDEX, ARRAYS, SAMPLE = "npz_index", "arrays", "csv_sample"
DATA, LABELS = "imagenet_val_0.0001GB.csv", "imagenet_val_labels_0.0001GB.csv"


def write(raw: Path) -> None:
    train = rows(1, 20)
    save_npz(raw / "tiny" / "train_data_batch_1.npz", **train, mean=train["data"].mean(axis=0))
    save_npz(raw / "tiny" / "val_data.npz", **rows(0, 50))


DATASET = {"name": "tiny", "resolution": 16, "train_batches": [1], "csv_size_gb": 1e-4}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with graph(folder, write, **DATASET) as made:
        for asset in (INDEX, ARRAYS, SAMPLE):
            assert made.run(asset).success
    return folder


@pytest.fixture
def tiny(tmp_path: Path, whole: Path) -> Iterator[Graph]:
    """A copy of the whole graph, to be damaged."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    with graph(tmp_path, **DATASET) as made:
        yield made


def sealed(made: Graph, asset: str, partition: str) -> None:
    """Let the manifest agree with the files as they are now: what a wrong writer, not a bad disk, would leave."""
    folder = made.store / asset / partition
    path = folder / ".imgassets.json"
    manifest = json.loads(path.read_text())
    manifest.pop("checksum", None)  # of a manifest that nobody has edited
    for record in manifest["files"]:
        file = folder / record["name"]
        record.update(bytes=file.stat().st_size, xxh3_128=xxh3_128(file))
    path.write_text(json.dumps(manifest))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def column(name: str, row: int, value: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        table = pq.read_table(folder / "index.parquet")
        values = table[name].to_pylist()
        values[row] = value
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
        pq.write_table(table, folder / "index.parquet")

    return damage


def fewer_rows(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / "index.parquet").slice(1), folder / "index.parquet")


def report(**changed: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        found = json.loads((folder / "report.json").read_text())
        (folder / "report.json").write_text(json.dumps(found | changed))

    return damage


def labels(row: int, value: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        values = np.load(folder / "labels.npy", allow_pickle=False)
        values[row] = value
        np.save(folder / "labels.npy", values, allow_pickle=False)

    return damage


def fewer_labels(folder: Path) -> None:
    values = np.load(folder / "labels.npy", allow_pickle=False)
    np.save(folder / "labels.npy", values[1:], allow_pickle=False)


def mtd(name: str, **changed: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / f"{name}.mtd"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return damage


def move_one(folder: Path) -> None:
    """Give the first row another class: still one-hot, and the sidecar knows nothing of it."""
    text = (folder / LABELS).read_bytes()
    line, rest = text[:2000], text[2000:]
    place = line.index(b"1")
    moved = bytearray(b"0," * 999 + b"0\n")
    moved[(place + 2) % 2000] = ord("1")
    (folder / LABELS).write_bytes(bytes(moved) + rest)


def two_ones(folder: Path) -> None:
    content = bytearray((folder / LABELS).read_bytes())
    content[next(place for place in range(0, 2000, 2) if content[place] == ord("0"))] = ord("1")
    (folder / LABELS).write_bytes(content)


def last_row_gone(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(b"".join(lines[:-1]))

    return damage


DAMAGES: list[tuple[str, str, str, str, Callable[[Path], None]]] = [
    (INDEX, "labels_in_range", "0..", "label 0", column("devkit_label", 3, 0)),
    (INDEX, "labels_in_range", "1001", "label 1001", column("devkit_label", 3, 1001)),
    (INDEX, "labels_in_range", "", "class_id 1000", column("class_id", 3, 1000)),
    (INDEX, "labels_in_range", "", "class_id -1", column("class_id", 3, -1)),
    (INDEX, "index_complete", "50 rows from 0", "a global index twice", column("global_index", 3, 2)),
    (INDEX, "index_complete", "50 rows from 0", "a row twice", column("row", 49, 48)),
    (INDEX, "index_complete", "", "a row too few", fewer_rows),
    (INDEX, "index_complete", "50 rows from 1", "another offset", report(first_row=1)),
    (INDEX, "declared_mean", "is the limit", "another data set's mean", report(mean_difference=120.0)),
    (ARRAYS, "labels_in_range", "class_ids", "class_id 1000", labels(7, 1000)),
    (ARRAYS, "labels_in_range", "class_ids -1..", "class_id -1", labels(7, -1)),
    (ARRAYS, "labels_in_range", "", "a label too few", fewer_labels),
    (SAMPLE, "valid_for_systemds", "cell", "a wrong cell", lambda folder: replace(folder / DATA, b",0.", b",0x")),
    (SAMPLE, "valid_for_systemds", "cell", "a cell above 1", lambda folder: replace(folder / DATA, b",0.", b",2.")),
    (SAMPLE, "valid_for_systemds", "rows", "a data row gone", last_row_gone(DATA)),
    (SAMPLE, "valid_for_systemds", "rows", "a label row gone", last_row_gone(LABELS)),
    (SAMPLE, "valid_for_systemds", "one-hot", "two ones", two_ones),
    (SAMPLE, "valid_for_systemds", "'nnz'", "nnz off by one", mtd(DATA, nnz=1)),
    (SAMPLE, "valid_for_systemds", "'rows'", "rows too many", mtd(LABELS, rows=51)),
    (SAMPLE, "valid_for_systemds", "'rows'", "rows as text", mtd(DATA, rows="50")),
    (SAMPLE, "valid_for_systemds", "seed", "a key SystemDS refuses", mtd(DATA, seed=0)),
    (SAMPLE, "valid_for_systemds", ".mtd", "no JSON", lambda folder: (folder / f"{DATA}.mtd").write_text("{")),
    (SAMPLE, "class_balance", "rows from the exact share", "one wrong label", move_one),
]


@pytest.mark.parametrize(
    ("asset", "check", "words", "damage"),
    [(asset, check, words, damage) for asset, check, words, _, damage in DAMAGES],
    ids=[f"{asset}-{check}-{name}" for asset, check, _, name, _ in DAMAGES],
)
def test_a_check_turns_red(tiny: Graph, asset: str, check: str, words: str, damage: Callable[[Path], None]) -> None:
    partition = "val" if asset == SAMPLE else "val_data"
    damage(tiny.store / asset / partition)
    sealed(tiny, asset, partition)
    found = tiny.check(asset, partition)[check]
    assert not found.passed
    assert words in str(found.description)
    assert "\n" not in str(found.description)
    assert found.partition == partition


@pytest.mark.parametrize(
    ("asset", "partition", "file", "place", "check"),
    [
        (ARRAYS, "val_data", "images.npy", 9999, "bytes_verified"),
        (ARRAYS, "val_data", "labels.npy", -1, "bytes_verified"),
        (ARRAYS, "val_data", "labels.npy", 0, "labels_in_range"),
        (ARRAYS, "val_data", "images.npy", 6, "labels_in_range"),
        (INDEX, "val_data", "index.parquet", 40, "index_complete"),
        (INDEX, "val_data", "index.parquet", -1, "index_complete"),
        (INDEX, "val_data", "index.parquet", -8, "labels_in_range"),
        (INDEX, "val_data", "report.json", 0, "index_complete"),
        (SAMPLE, "val", DATA, 9999, "valid_for_systemds"),
        (SAMPLE, "val", LABELS, 9998, "valid_for_systemds"),
        (SAMPLE, "val", "sample.json", 0, "valid_for_systemds"),
    ],
)
def test_one_flipped_bit_is_found(tiny: Graph, asset: str, partition: str, file: str, place: int, check: str) -> None:
    path = tiny.store / asset / partition / file
    flip(path, place)
    found = tiny.check(asset, partition)[check]
    assert not found.passed
    assert str(path) in str(found.description)


@pytest.mark.parametrize("asset", [INDEX, ARRAYS, SAMPLE])
def test_every_check_is_green_with_numbers_on_what_is_right(tiny: Graph, asset: str) -> None:
    for partition in tiny.keys(asset):
        found = tiny.check(asset, partition)
        assert found
        for name, evaluation in found.items():
            assert evaluation.passed, name
            assert evaluation.metadata, name
            assert evaluation.description, name


@pytest.mark.parametrize("asset", [INDEX, ARRAYS, SAMPLE])
def test_a_file_that_is_gone_turns_every_check_red(tiny: Graph, asset: str) -> None:
    partition = tiny.keys(asset)[-1]
    for path in (tiny.store / asset / partition).glob("[!.]*"):
        path.unlink()
    found = tiny.check(asset, partition)
    assert found
    for evaluation in found.values():
        assert not evaluation.passed
        assert "missing" in str(evaluation.description)


@pytest.mark.parametrize("asset", [INDEX, ARRAYS, SAMPLE])
def test_what_is_not_made_yet_is_not_judged_yet(tiny: Graph, asset: str) -> None:
    partition = tiny.keys(asset)[-1]
    shutil.rmtree(tiny.store / asset / partition)
    found = tiny.check(asset, partition)
    assert found
    for evaluation in found.values():
        assert not evaluation.passed
        assert evaluation.severity is dg.AssetCheckSeverity.WARN
        assert str(evaluation.description).startswith("not yet: ")


def test_the_declared_mean_only_warns(tiny: Graph) -> None:
    """Uniform noise has a larger spread of means than pictures, so the limit is tried on both sides."""
    folder = tiny.store / INDEX / "train_data_batch_1"
    assert tiny.check(INDEX, "train_data_batch_1")["declared_mean"].passed
    std = max(channel["std"] for channel in json.loads((folder / "report.json").read_text())["channels"].values())
    limit = 6 * std / 20**0.5
    for difference, passed in ((limit * 0.999, True), (limit * 1.001, False)):
        report(mean_difference=difference)(folder)
        sealed(tiny, INDEX, "train_data_batch_1")
        found = tiny.check(INDEX, "train_data_batch_1")["declared_mean"]
        assert found.passed is passed
        assert found.severity is dg.AssetCheckSeverity.WARN
        assert found.metadata["limit"].value == pytest.approx(limit)


def test_rows_in_another_order_are_told_by_the_index(tmp_path: Path) -> None:
    """Of val_data too, which declares no mean; what planar rows have in their index is as it was."""
    pictures = np.stack([picture(seed, 16, 16, seed / 50) for seed in range(50)])

    def interleaved(raw: Path) -> None:
        planar = {"data": pictures.transpose(0, 3, 1, 2).reshape(50, -1), "labels": np.arange(1, 51)}
        save_npz(raw / "tiny" / "train_data_batch_1.npz", **planar)
        save_npz(raw / "tiny" / "val_data.npz", **planar | {"data": pictures.reshape(50, -1)})

    with graph(tmp_path, interleaved, **DATASET) as made:
        assert made.run(INDEX).success
        warnings = [
            json.loads((made.store / INDEX / key / "report.json").read_text()).get("warning")
            for key in made.keys(INDEX)
        ]
        assert warnings[0] is None
        assert "rows look like H, W, C" in warnings[1]
        found = made.check(INDEX, "val_data")["declared_mean"]
        assert not found.passed
        assert "transpose(0, 3, 1, 2)" in str(found.description)


def test_one_bad_partition_of_a_range_is_the_only_red_one(tiny: Graph) -> None:
    """A run over many partitions gives one finding for each, and one for all."""
    labels(7, 1000)(tiny.store / ARRAYS / "val_data")
    sealed(tiny, ARRAYS, "val_data")
    found = {key: each["labels_in_range"].passed for key, each in tiny.check_range(ARRAYS).items()}
    assert found == {"train_data_batch_1": True, "val_data": False, None: False}

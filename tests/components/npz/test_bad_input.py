"""Bad input: one clear line that names file and partition, nothing of it published, everything else finished."""

from __future__ import annotations

import math
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from imgassets.commit import lock
from imgassets.errors import LIMIT
from imgassets.io import patience
from tests.components.imagenet import Graph, Result, graph, rows, save_npz

BAD = "train_data_batch_3"
KEYS = ["train_data_batch_1", "train_data_batch_2", BAD, "val_data"]
ROWS = {"train_data_batch_1": 20, "train_data_batch_2": 30, BAD: 40, "val_data": 25}


def write(raw: Path) -> None:
    for number, (name, count) in enumerate(ROWS.items()):
        compression = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
        save_npz(raw / "tiny" / f"{name}.npz", compression, **rows(number, count))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Graph]:
    with graph(tmp_path, write, name="tiny", resolution=16, train_batches=[1, 2, 3], csv_size_gb=1e-4) as made:
        yield made


def published(made: Graph, asset: str) -> set[str]:
    """Partitions in the vault, which must be those that Dagster has a record of; nothing hidden lies beside them."""
    found = {path.name for path in (made.store / asset).glob("*")} if (made.store / asset).exists() else set()
    assert found == made.instance.get_materialized_partitions(dg.AssetKey(["tiny", asset]))
    return found


def observed(made: Graph, asset: str, partition: str) -> str:
    """What the last event of a partition says."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(["tiny", asset]), asset_partitions=[partition])
    (record,) = made.instance.fetch_observations(wanted, limit=1).records
    assert record.asset_observation is not None
    return str(record.asset_observation.metadata["failed"].value)


def assert_only(result: Result, bad: dict[str, str], made: Graph, asset: str, total: int = len(KEYS)) -> None:
    """Exactly the partitions in `bad` failed, each with its words, and all others were made."""
    assert not result.success
    assert set(result.reasons) == set(bad)
    for key, words in bad.items():
        reason = result.reasons[key]
        assert words in reason
        assert observed(made, asset, key) == reason  # on the partition's own page
        assert "\n" not in reason
        assert len(reason) <= LIMIT
    first = next(iter(result.reasons))
    assert "\n" not in result.failure
    assert len(result.failure) <= LIMIT
    assert f"tiny/{asset}/{first}: " in result.failure
    assert bad[first] in result.failure
    assert published(made, asset) == set(made.keys(asset)) - set(bad)
    assert result.failure.startswith(f"{len(bad)} of {total} partitions failed. ")


def members(**changed: np.ndarray) -> dict[str, np.ndarray]:
    return rows(2, ROWS[BAD]) | changed


def overwrite(**changed: np.ndarray) -> Callable[[Path], None]:
    return lambda path: save_npz(path, **members(**changed))


def cut(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def flip(compression: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        save_npz(path, compression, **members())
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 1
        path.write_bytes(content)

    return damage


def labels_with(value: float, dtype: str = "int64") -> np.ndarray:
    labels = rows(2, ROWS[BAD])["labels"].astype(dtype)
    labels[17] = value
    return labels


DATA = rows(2, ROWS[BAD])["data"]
BROKEN = {
    "missing": (Path.unlink, "lacks train_data_batch_3.npz"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    "a dangling link": (lambda path: (path.unlink(), path.symlink_to("nowhere")), "cannot be opened"),
    "empty": (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "not a zip": (lambda path: path.write_bytes(b"<!DOCTYPE html>" * 99), "is not an NPZ file"),
    "half of it": (cut(0.5), "is cut short or damaged"),
    "last bytes gone": (cut(0.999), "is cut short or damaged"),
    "flipped bit, stored": (flip(zipfile.ZIP_STORED), "CRC-32"),
    "flipped bit, deflated": (flip(zipfile.ZIP_DEFLATED), "member data.npy"),
    "pickled objects": (overwrite(labels=np.array([1] * ROWS[BAD], object)), "object"),
    "pickled images": (overwrite(data=np.array([[b"x"]] * ROWS[BAD], object)), "object"),
    "no labels": (lambda path: save_npz(path, data=DATA), "has no member labels.npy"),
    "no data": (lambda path: save_npz(path, labels=labels_with(1)), "has no member data.npy"),
    "float images": (overwrite(data=DATA.astype(np.float32)), "expected uint8"),
    "signed images": (overwrite(data=DATA.view(np.int8)), "expected uint8"),
    "32 pixels": (lambda path: save_npz(path, **rows(2, ROWS[BAD], 32)), "set resolution to 32"),
    "one column less": (overwrite(data=np.ascontiguousarray(DATA[:, 1:])), "expected 768 columns"),
    "column order": (overwrite(data=np.asfortranarray(DATA)), "Fortran"),
    "four dimensions": (overwrite(data=DATA.reshape(-1, 3, 16, 16)), "expected two dimensions"),
    "one dimension": (overwrite(data=DATA.reshape(-1)), "expected two dimensions"),
    "label 0": (overwrite(labels=labels_with(0)), "row 17 has 0"),
    "label 1001": (overwrite(labels=labels_with(1001)), "row 17 has 1001"),
    "negative label": (overwrite(labels=labels_with(-5)), "row 17 has -5"),
    "float labels": (overwrite(labels=labels_with(7, "float64")), "expected integers 1..1000"),
    "one-hot labels": (overwrite(labels=np.eye(ROWS[BAD], 1000, dtype=np.int64)), "expected one dimension"),
    "a label too few": (overwrite(labels=labels_with(1)[1:]), "has 40 rows of data but 39 labels"),
    "no rows": (lambda path: save_npz(path, **rows(2, 0)), "expected at least one row"),
    "zip bomb": (
        lambda path: save_npz(
            path, zipfile.ZIP_DEFLATED, data=np.zeros((30_000, 768), np.uint8), labels=np.ones(30_000, np.int64)
        ),
        "decompression bomb",
    ),
    "mean of another size": (overwrite(mean=np.zeros(12)), "mean"),
    "mean that is no number": (overwrite(mean=np.full(768, math.nan)), "mean must be finite"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_batch_fails_alone_and_says_why(tiny: Graph, name: str) -> None:
    damage, words = BROKEN[name]
    damage(tiny.raw / f"{BAD}.npz")
    result = tiny.run("npz_index")
    assert_only(result, {BAD: words}, tiny, "npz_index")
    assert f"{BAD}.npz" in result.reasons[BAD]


def test_a_mended_batch_is_made_like_any_other(tiny: Graph) -> None:
    flip(zipfile.ZIP_STORED)(tiny.raw / f"{BAD}.npz")
    failed = tiny.run("npz_index")
    alone = tiny.run("npz_index", BAD)
    assert alone.failure == f"tiny/npz_index/{BAD}: {failed.reasons[BAD]}"
    save_npz(tiny.raw / f"{BAD}.npz", **members())
    states = {key: found["state"] for key, found in tiny.run("npz_index").metadata.items()}
    assert states == dict.fromkeys(KEYS, "unchanged, skipped") | {BAD: "built"}
    assert published(tiny, "npz_index") == set(KEYS)


def test_batches_after_an_unreadable_one_name_it_and_the_others_finish(tiny: Graph) -> None:
    (tiny.raw / "train_data_batch_1.npz").write_bytes(b"")
    words = "train_data_batch_1.npz"
    result = tiny.run("npz_index")
    assert_only(result, dict.fromkeys(KEYS[:3], words), tiny, "npz_index")
    assert all("is empty (0 bytes)" in reason for reason in result.reasons.values())
    assert "global index" in result.reasons[BAD]


@pytest.mark.parametrize("name", ["train_data_batch_1", "train_data_batch_2"])
def test_a_cut_batch_leaves_later_batches_alone(tiny: Graph, name: str) -> None:
    """Its directory, at the end, is gone; how many rows it has stands where it begins."""
    whole = (tiny.raw / f"{name}.npz").read_bytes()
    (tiny.raw / f"{name}.npz").write_bytes(whole[: len(whole) * 9 // 10])
    assert_only(tiny.run("npz_index"), {name: "cut short or damaged"}, tiny, "npz_index")
    assert tiny.artifact("npz_index", BAD).open().table(["global_index"])["global_index"][0].as_py() == 50
    (tiny.raw / f"{name}.npz").write_bytes(whole)
    result = tiny.run("npz_index")
    assert {key for key, found in result.metadata.items() if found["state"] == "built"} == {name}


def test_a_damaged_pixel_leaves_later_batches_alone(tiny: Graph) -> None:
    """Offsets come from headers, and the header of the damaged one is fine."""
    save_npz(tiny.raw / "train_data_batch_1.npz", **rows(0, 20))
    content = bytearray((tiny.raw / "train_data_batch_1.npz").read_bytes())
    content[5000] ^= 16
    (tiny.raw / "train_data_batch_1.npz").write_bytes(content)
    assert_only(tiny.run("npz_index"), {"train_data_batch_1": "CRC-32"}, tiny, "npz_index")


@pytest.mark.parametrize("there", [True, False])
def test_no_npz_files(tiny: Graph, there: bool) -> None:
    for path in tiny.raw.iterdir():
        path.unlink()
    if not there:
        tiny.raw.rmdir()
    result = tiny.run("npz_index")
    assert_only(result, dict.fromkeys(KEYS, "No NPZ files found"), tiny, "npz_index")
    reason = result.reasons["val_data"]
    assert str(tiny.raw) in reason  # where it looked
    assert "val_data.npz" in reason  # what it expected
    assert "IMGASSETS_RAW" in reason  # what to do
    assert not Path(tiny.storage.store).exists() or tiny.files() == {}


def test_arrays_before_their_index_say_what_to_make_first(tiny: Graph) -> None:
    assert tiny.run("npz_index", "val_data").success
    words = "tiny/npz_index has no partition"
    result = tiny.run("arrays")
    assert_only(result, {key: f"{words} {key} yet" for key in KEYS[:3]}, tiny, "arrays")
    assert f"`imgassets backfill tiny/npz_index --partitions {BAD}`" in result.reasons[BAD]


def test_a_file_changed_after_its_index_is_refused(tiny: Graph) -> None:
    assert tiny.run("npz_index").success
    save_npz(tiny.raw / f"{BAD}.npz", **rows(99, ROWS[BAD]))
    result = tiny.run("arrays")
    assert_only(
        result, {BAD: f"tiny/{BAD}.npz is not the file that tiny/npz_index/{BAD} was made from"}, tiny, "arrays"
    )
    assert tiny.run("npz_index").success
    assert tiny.run("arrays").success


def test_a_file_gone_after_its_index_is_named(tiny: Graph) -> None:
    assert tiny.run("npz_index").success
    (tiny.raw / f"{BAD}.npz").unlink()
    assert_only(tiny.run("arrays"), {BAD: f"lacks {BAD}.npz"}, tiny, "arrays")


def test_csv_before_its_arrays(tiny: Graph) -> None:
    for asset in ("npz_index", "arrays"):
        assert tiny.run(asset, "val_data").success
        assert tiny.run(asset, "train_data_batch_1").success
    result = tiny.run("csv_sample")
    assert_only(result, {"train": "Combined binary files not found"}, tiny, "csv_sample", total=2)
    assert "tiny/arrays has no partition train_data_batch_2 yet" in result.reasons["train"]


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf, -math.inf, 1e-9, 1e300])
def test_a_size_that_is_none(tiny: Graph, size: float) -> None:
    for asset in ("npz_index", "arrays"):
        assert tiny.run(asset).success
    result = tiny.run("csv_sample", csv_size_gb=size)
    words = "ask for a larger size" if size == 1e-9 else f"is {size!r}"
    assert_only(result, dict.fromkeys(("train", "val"), words), tiny, "csv_sample", total=2)


def test_an_artifact_damaged_upstream_is_refused(tiny: Graph) -> None:
    for asset in ("npz_index", "arrays"):
        assert tiny.run(asset).success
    os.truncate(tiny.store / "arrays" / BAD / "images.npy", 1000)
    result = tiny.run("csv_sample")
    assert_only(result, {"train": f"{BAD}/images.npy has 1000 bytes"}, tiny, "csv_sample", total=2)


def test_a_store_that_cannot_be_written(tiny: Graph) -> None:
    assert tiny.run("npz_index").success
    tiny.store.joinpath("arrays").write_text("in the way")
    result = tiny.run("arrays")
    assert set(result.reasons) == set(KEYS)
    for key, reason in result.reasons.items():
        assert f"arrays/{key} could not be written" in reason
        assert len(reason) <= LIMIT
    assert tiny.store.joinpath("arrays").read_text() == "in the way"


def test_a_store_that_fills_up_while_it_is_written(tiny: Graph) -> None:
    save_npz(tiny.raw / f"{BAD}.npz", **rows(2, 400))
    assert tiny.run("npz_index").success
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        result = tiny.run("arrays")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_only(result, {BAD: f"arrays/{BAD} could not be written: File too large"}, tiny, "arrays")
    assert tiny.run("arrays").success


def test_a_store_without_room(tiny: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tiny.run("npz_index").success
    with monkeypatch.context() as patch:
        patch.setattr("imgassets.commit.stage.free_bytes", lambda path: 28_000)
        result = tiny.run("arrays")
    words = "needs 30.3 KiB, 27.3 KiB free"
    assert_only(result, {BAD: words}, tiny, "arrays")
    assert "Not enough space for tiny/arrays/" in result.failure


def test_a_second_writer_is_refused_by_name(tiny: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BOUND", 0.0)
    with ExitStack() as held:
        for key in KEYS:
            held.enter_context(lock.Exclusive(tiny.artifact("npz_index", key).location))
        result = tiny.run("npz_index")
        assert set(result.reasons) == set(KEYS)
        assert all("is being written by" in reason for reason in result.reasons.values())
    assert tiny.run("npz_index").success

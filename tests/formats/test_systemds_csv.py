from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imgassets.errors import BadInput, StoreError
from imgassets.formats import systemds_csv
from imgassets.formats.systemds import GIB, VALUES, size_text
from imgassets.formats.systemds_csv import (
    CELL_BYTES,
    CELLS,
    SampleFacts,
    encode,
    encode_onehot,
    most_rows,
    plan_sample,
    row_lengths,
    write_sample,
)
from imgassets.sampling import quota_order
from tests.formats.systemds_rows import ArrayRows, images, new_stage, slow_text

blocks = st.tuples(st.integers(0, 9), st.integers(1, 20)).flatmap(lambda s: arrays(np.uint8, (s[0], 2 * s[1])))


def make(
    folder: Path, pixels: np.ndarray, gib: float, classes: int = 7, seed: int = 0, **options: object
) -> SampleFacts:
    """Write and publish a sample of `pixels` whose labels go round seven classes."""
    columns = np.arange(len(pixels)) % 7
    stage = new_stage(folder)
    order, rows = quota_order(columns, 0), ArrayRows(pixels)
    facts = write_sample(stage, rows, order, columns, split="val", gib=gib, classes=7, **options)  # type: ignore[arg-type]
    stage.publish({}, ())
    return facts


def test_each_cell_reads_back_to_its_float32_and_no_shorter_text_does() -> None:
    assert len(set(CELLS)) == 256
    for value, cell in zip(VALUES, CELLS, strict=True):
        assert np.float32(cell.decode()) == value
        decimals = len(cell.partition(b".")[2])
        if decimals:
            assert np.float32(f"{float(value):.{decimals - 1}f}") != value
    assert (VALUES[0], VALUES[51], VALUES[255]) == (0, np.float32(0.2), 1)
    assert (CELLS[0], CELLS[51], CELLS[128], CELLS[255]) == (b"0", b"0.2", b"0.5019608", b"1")


@settings(deadline=None)
@given(blocks)
def test_text_is_what_cell_by_cell_gives(block: np.ndarray) -> None:
    text = bytes(encode(block))
    assert text == slow_text(block)
    assert row_lengths(block).tolist() == [len(line) for line in text.splitlines(keepends=True)]


def test_all_pairs_of_levels() -> None:
    block = np.stack(np.meshgrid(range(256), range(256)), axis=-1).reshape(256, 512).astype(np.uint8)
    assert bytes(encode(block)) == slow_text(block)


def test_widths_the_encoder_cannot_take() -> None:
    with pytest.raises(ValueError, match="pairs"):
        encode(np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="32-bit"):
        encode(np.broadcast_to(np.uint8(0), (2**15, 2**13)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=20))
def test_onehot_text(columns: list[int]) -> None:
    lines = encode_onehot(np.array(columns, np.int64), 7).tobytes().decode().splitlines()
    assert [[int(cell) for cell in line.split(",")] for line in lines] == np.eye(7, dtype=int)[columns].tolist()


def test_a_label_row_of_imagenet_is_2000_bytes() -> None:
    assert encode_onehot(np.array([0, 999])).shape == (2, 2000)


@pytest.mark.parametrize(
    ("gib", "text"), [(2, "2"), (2.0, "2"), (1.5, "1.5"), (0.05, "0.05"), (1e-7, "0.0000001"), (1000, "1000")]
)
def test_size_text(gib: float, text: str) -> None:
    assert size_text(gib) == text


@settings(deadline=None)
@given(st.floats(0, 2**20, exclude_min=True))
def test_size_text_reads_back(gib: float) -> None:
    assert float(size_text(gib)) == gib


@pytest.mark.parametrize("gib", [0, 0.0, -1, float("nan"), float("inf"), -float("inf"), 2.0**21, True, "2"])
def test_what_is_no_size(gib: float) -> None:
    with pytest.raises(BadInput, match="GiB"):
        size_text(gib)


@settings(deadline=None)
@given(st.integers(1, 150), st.integers(1, 40), st.floats(0, 1.3), st.integers(0, 3))
def test_the_plan_fills_the_target_to_within_one_row(count: int, pairs: int, share: float, seed: int) -> None:
    pixels = images(count, 2 * pairs, seed, darkest=-40)
    order = np.random.default_rng(seed).permutation(count)
    sizes = np.array([len(slow_text(pixels[[i]])) for i in order]) + 2 * 7
    target = int(share * sizes.sum())
    gib = target / GIB
    if target < sizes[0]:
        with pytest.raises(BadInput, match="larger size" if target else "above 0"):
            plan_sample(ArrayRows(pixels), order, "val", gib, 7)
        return
    facts = plan_sample(ArrayRows(pixels), order, "val", gib, 7)
    used = int(sizes[: facts.rows].sum())
    assert facts.data_bytes + facts.label_bytes == used == facts.target_bytes - facts.short_by <= target
    assert facts.label_bytes == 14 * facts.rows
    assert facts.data_nnz == np.count_nonzero(pixels[order[: facts.rows]])
    assert facts.all_rows == (facts.rows == count)
    assert facts.all_rows or used + sizes[facts.rows] > target
    assert facts.rows <= most_rows(gib, 2 * pairs, 7)


def test_only_the_rows_of_the_sample_are_read() -> None:
    rows = ArrayRows(np.zeros((5000, 20), np.uint8))
    facts = plan_sample(rows, np.arange(5000), "val", 300 * (40 + 14) / GIB, 7)
    assert facts.rows == 300
    assert rows.taken <= 300 + 5 * systemds_csv.BATCH
    assert not any(name == "MainThread" for name in rows.threads)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_files_hold_what_was_planned(tmp_path: Path, threads: int) -> None:
    pixels = images(1000, 60)
    facts = make(tmp_path / "val", pixels, 0.0003, threads=threads, notes={"seed": 0})
    files = {path.name: path.read_bytes() for path in (tmp_path / "val").iterdir()}
    data, labels = facts.names
    assert (data, labels) == ("imagenet_val_0.0003GB.csv", "imagenet_val_labels_0.0003GB.csv")
    assert set(files) == {data, labels, data + ".mtd", labels + ".mtd", "sample.json", ".imgassets.json"}
    assert 0 < facts.rows < 1000
    assert 0 <= facts.short_by < max(row_lengths(pixels)) + 14
    chosen = quota_order(np.arange(1000) % 7, 0)[: facts.rows]
    assert files[data] == slow_text(pixels[chosen])
    assert files[labels] == encode_onehot(chosen % 7, 7).tobytes()
    assert (len(files[data]), len(files[labels])) == (facts.data_bytes, facts.label_bytes)
    mtd = {"data_type": "matrix", "value_type": "double", "format": "csv", "header": False, "sep": ","}
    nnz = int(np.count_nonzero(pixels[chosen]))
    assert json.loads(files[data + ".mtd"]) == mtd | {"rows": facts.rows, "cols": 60, "nnz": nnz}
    assert json.loads(files[labels + ".mtd"]) == mtd | {"rows": facts.rows, "cols": 7, "nnz": facts.rows}
    sidecar = json.loads(files["sample.json"])
    assert sidecar["global_index"] == chosen.tolist()
    assert (sidecar["class_order"], sidecar["notes"], sidecar["rows"]) == ("clsloc", {"seed": 0}, facts.rows)


def test_smaller_samples_are_nested_in_larger_ones(tmp_path: Path) -> None:
    pixels = images(500, 40)
    texts = []
    for gib in (0.00005, 0.0001):
        facts = make(tmp_path / str(gib), pixels, gib)
        texts.append([(tmp_path / str(gib) / name).read_bytes() for name in facts.names])
    for small, large in zip(*texts, strict=True):
        assert len(small) < len(large)
        assert large.startswith(small)


def test_more_room_than_rows_takes_every_row_once(tmp_path: Path) -> None:
    facts = make(tmp_path / "val", images(130, 40), 2)
    assert facts.all_rows
    assert facts.rows == facts.available_rows == 130
    assert facts.names[0] == "imagenet_val_2GB.csv"
    assert sorted(json.loads((tmp_path / "val" / "sample.json").read_bytes())["global_index"]) == list(range(130))


@pytest.mark.parametrize("level", [0, 255, 51, 1])
def test_uniform_images_fill_the_target_too(tmp_path: Path, level: int) -> None:
    row = 12 * CELL_BYTES[level] + 14
    facts = make(tmp_path / "val", np.full((400, 12), level, np.uint8), (100 * row + row - 1) / GIB)
    assert (facts.rows, facts.short_by, facts.data_nnz) == (100, row - 1, 1200 if level else 0)


def test_a_target_that_is_met_to_the_byte(tmp_path: Path) -> None:
    facts = make(tmp_path / "val", np.zeros((400, 12), np.uint8), 64 * (24 + 14) / GIB)
    assert (facts.rows, facts.short_by) == (64, 0)


def test_less_than_one_row_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"0\.00000001 GiB is 10 bytes and the first row of val alone takes 38"):
        make(tmp_path / "val", np.zeros((9, 12), np.uint8), 0.00000001)


def test_no_rows_and_labels_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no rows in val"):
        make(tmp_path / "val", np.zeros((0, 12), np.uint8), 1)
    rows, order = ArrayRows(np.zeros((9, 12), np.uint8)), np.arange(9)
    for columns in (np.arange(9), np.arange(9) - 1, np.zeros(8, np.int64)):
        with pytest.raises(BadInput, match="labels"):
            write_sample(new_stage(tmp_path / "x"), rows, order, columns, split="val", gib=1, classes=8)


def test_an_order_that_is_too_short_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    rows = ArrayRows(np.zeros((9, 12), np.uint8))
    with pytest.raises(ValueError, match="order ends after 5 of 9"):
        write_sample(new_stage(tmp_path / "x"), rows, np.arange(5), np.zeros(9, np.int64), split="val", gib=1)


def test_rows_that_change_meanwhile_are_noticed(tmp_path: Path) -> None:
    class Fading(ArrayRows):
        def take(self, indices: np.ndarray, out: np.ndarray) -> None:
            super().take(indices, out)
            if self.taken > len(self):
                out[:] = 0

    rows, order = Fading(images(300, 40)), np.arange(300)
    stage = new_stage(tmp_path / "x")
    with pytest.raises(StoreError, match="changed while they were read"):
        write_sample(stage, rows, order, order % 7, split="val", gib=1, classes=7)
    assert not stage.finished("imagenet_val_1GB.csv")


def test_an_error_of_the_source_comes_through(tmp_path: Path) -> None:
    class Broken(ArrayRows):
        def take(self, indices: np.ndarray, out: np.ndarray) -> None:
            raise BadInput("images.npy is gone")

    with pytest.raises(BadInput, match="is gone"):
        write_sample(
            new_stage(tmp_path / "x"), Broken(images(300, 40)), np.arange(300), np.zeros(300, int), split="val", gib=1
        )


@pytest.mark.parametrize("files_done", range(1, 5))
def test_an_attempt_is_taken_up_where_it_ended(tmp_path: Path, files_done: int) -> None:
    pixels, columns = images(900, 40), np.arange(900) % 7
    order = quota_order(columns, 0)
    whole = make(tmp_path / "whole", pixels, 0.0003)

    class Killed(BaseException):
        pass

    stage, opened = new_stage(tmp_path / "val"), []
    create = stage.create

    def create_some(name: str) -> object:
        opened.append(name)
        if len(opened) > files_done:
            raise Killed
        return create(name)

    stage.create = create_some  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        write_sample(stage, ArrayRows(pixels), order, columns, split="val", gib=0.0003, classes=7)
    again = new_stage(tmp_path / "val")
    kept = [again.finished(name) for name in opened[:files_done]]
    assert all(kept)
    rows = ArrayRows(pixels)
    assert write_sample(again, rows, order, columns, split="val", gib=0.0003, classes=7) == whole
    assert rows.taken < whole.rows + 5 * systemds_csv.BATCH  # counted again, not encoded again
    again.publish({}, ())
    for name in opened:
        assert (tmp_path / "val" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imgassets.commit import Stage
from imgassets.errors import BadInput, StoreError
from imgassets.formats.systemds import VALUES
from imgassets.formats.systemds_binary import matrix_bytes, read_blocks, write_sample_blocks
from tests.formats.systemds_rows import ArrayRows, images, new_stage


def matrix(path: Path, shape: tuple[int, int]) -> np.ndarray:
    whole = np.full(shape, np.nan)
    for row, column, block in read_blocks(path):
        whole[row : row + block.shape[0], column : column + block.shape[1]] = block
    return whole


def make(folder: Path, pixels: np.ndarray, chosen: np.ndarray, classes: int = 1000) -> tuple[Path, Path]:
    stage = new_stage(folder)
    columns = np.arange(len(pixels)) * 31 % classes
    names = write_sample_blocks(stage, ArrayRows(pixels), chosen, columns, split="train", size="1.5", classes=classes)
    stage.publish({}, ())
    return folder / names[0], folder / names[1]


@pytest.mark.parametrize(
    ("count", "width", "classes"), [(1, 2, 3), (1000, 1000, 1000), (1001, 1002, 1003), (2300, 60, 5)]
)
def test_blocks_come_back_as_the_doubles_of_the_float32_values(
    tmp_path: Path, count: int, width: int, classes: int
) -> None:
    pixels = images(count + 9, width, darkest=-40)
    chosen = np.random.default_rng(0).permutation(count + 9)[:count]
    data, labels = make(tmp_path / "train", pixels, chosen, classes)
    assert (data.name, labels.name) == ("imagenet_train_1.5GB.bin", "imagenet_train_labels_1.5GB.bin")
    assert (matrix(data, (count, width)) == VALUES.astype(np.float64)[pixels[chosen]]).all()
    assert (matrix(labels, (count, classes)) == np.eye(classes)[chosen * 31 % classes]).all()
    for path, cols, nnz in ((data, width, np.count_nonzero(pixels[chosen])), (labels, classes, count)):
        assert path.stat().st_size == matrix_bytes(count, cols)
        mtd = json.loads(path.with_name(path.name + ".mtd").read_bytes())
        assert mtd == {
            "data_type": "matrix", "value_type": "double", "format": "binary", "rows": count, "cols": cols, "nnz": nnz,
            "rows_in_block": 1000, "cols_in_block": 1000,
        }  # fmt: skip


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    pixels = images(50, 40)
    first, second = (make(tmp_path / name, pixels, np.arange(50)) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("files_done", range(4))
def test_an_attempt_is_taken_up(tmp_path: Path, files_done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = images(50, 40)
    whole = make(tmp_path / "whole", pixels, np.arange(50))
    create, opened = Stage.create, []

    def create_some(stage: Stage, name: str) -> object:
        if len(opened) == files_done:
            raise KeyboardInterrupt
        opened.append(name)
        return create(stage, name)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "create", create_some)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "train", pixels, np.arange(50))
    assert len(opened) == files_done
    again = make(tmp_path / "train", pixels, np.arange(50))
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in again]


def test_labels_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected 0\.\.4"):
        write_sample_blocks(
            new_stage(tmp_path / "x"),
            ArrayRows(images(9, 4)),
            np.arange(9),
            np.arange(9),
            split="val",
            size="1",
            classes=5,
        )


@pytest.mark.parametrize(
    ("cut", "match"),
    [
        (slice(0, 50), "start"),
        (slice(1, None), "start"),
        (slice(0, -1), "middle of a block"),
        (slice(0, 200), "record"),
    ],
)
def test_damaged_files(tmp_path: Path, cut: slice, match: str) -> None:
    data, _ = make(tmp_path / "train", images(1200, 40), np.arange(1200))
    data.write_bytes(data.read_bytes()[cut])
    with pytest.raises(StoreError, match=match):
        list(read_blocks(data))


def test_a_mark_that_is_wrong(tmp_path: Path) -> None:
    data, _ = make(tmp_path / "train", images(1200, 40), np.arange(1200))
    text = bytearray(data.read_bytes())
    text[-200 * 40 * 8 - 50] ^= 1
    data.write_bytes(text)
    with pytest.raises(StoreError, match="damaged record"):
        list(read_blocks(data))

"""Image stores of every version of every format, each made by the last commit that wrote it, are read for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from imgassets import convert, open_store
from imgassets.commit import load
from imgassets.sources.folder import class_folder
from imgassets.stores.codec import plain_stem
from imgassets.stores.registry import codec_of
from imgassets.testing.making import folder

STORES = Path(__file__).parent / "stores"


def image(row: int) -> np.ndarray:
    """What was stored: three images of growing height of each class."""
    kind, k = divmod(row, 3)
    pixels = np.zeros((6 + k, 5, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 40 * k, np.arange(5) * 20, (10, 200)[kind]
    return pixels


def test_files_of_ipc_1() -> None:
    store = open_store(STORES / "ipc-1-files")
    assert (store.info.format, store.class_to_idx) == ("ipc/1", {"cat": 0, "dog": 1})
    store.verify()
    for row in range(6):
        pixels, label = store[row]
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), image(row))
        assert label == row // 3


def test_pixels_of_ipc_1() -> None:
    store = open_store(STORES / "ipc-1-pixels")
    store.verify()
    images, labels = store.batch(range(6))
    assert images.shape == (6, 3, 4, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images[:, 2, 0, 0].tolist() == [10, 10, 10, 200, 200, 200]
    assert images[:, 0, 0, 0].tolist() == [0, 40, 80, 0, 40, 80]


@pytest.mark.parametrize("name", ["parquet-1-files", "parquet-1-zstd"])
def test_files_of_parquet_1(name: str) -> None:
    store = open_store(STORES / name)
    assert (store.info.format, store.class_to_idx) == ("parquet/1", {"cat": 0, "dog": 1})
    store.verify()
    for row in range(6):
        pixels, label = store[row]
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), image(row))
        assert (label, store.name(row)) == (row // 3, f"{'cat' if row < 3 else 'dog'}/{row % 3}.png")


def test_pixels_of_parquet_1() -> None:
    store = open_store(STORES / "parquet-1-pixels")
    store.verify()
    images, labels = store.batch(range(6))
    assert images.shape == (6, 3, 4, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images[:, 2, 0, 0].tolist() == [10, 10, 10, 200, 200, 200]


def test_a_store_of_parquet_1_is_not_made_again(tmp_path: Path) -> None:
    """A finished conversion stays finished, and one that is made anew is of today's version."""
    source = class_folder(folder(tmp_path / "images"))
    before = replace(codec_of("parquet"), version=1, reads=(), keeps=(), stem=plain_stem, tidy=False)
    with patch("imgassets.stores.writing.codec_of", return_value=before):
        path = convert(tmp_path / "images", tmp_path / "out", format="parquet")
    was = (path / ".imgassets.json").read_bytes()
    assert open_store(path).info.format == "parquet/1"
    convert(tmp_path / "images", tmp_path / "out", format="parquet")
    assert (path / ".imgassets.json").read_bytes() == was
    convert(tmp_path / "images", tmp_path / "out", format="parquet", force=True)
    assert open_store(path).info.format == "parquet/2"
    assert sorted(p.name for p in path.iterdir()) == [".imgassets.json", ".store", "data"]
    assert len(open_store(path)) == len(source)


@pytest.mark.parametrize("name", ["ipc-1-files", "ipc-1-pixels"])
def test_manifests_without_a_checksum_of_their_own(name: str) -> None:
    path = STORES / name / ".imgassets.json"
    assert b'"checksum"' not in path.read_bytes()
    assert load(path).facts["rows"] == 6

"""Image stores of every version of every format, each made by the last commit that wrote it, are read for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imgassets import open_store
from imgassets.commit import load

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


@pytest.mark.parametrize("name", ["ipc-1-files", "ipc-1-pixels"])
def test_manifests_without_a_checksum_of_their_own(name: str) -> None:
    path = STORES / name / ".imgassets.json"
    assert b'"checksum"' not in path.read_bytes()
    assert load(path).facts["rows"] == 6

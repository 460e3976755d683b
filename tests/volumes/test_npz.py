"""Volumes in `.npz`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgassets.errors import BadInput
from imgassets.volumes.npz import read_npz
from tests.volumes.phantom import chest

DATA = chest((9, 8, 7))


def test_image_is_x_y_z_and_spacing_z_y_x(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez_compressed(
        path, image=DATA.astype(np.float16), spacing=[1.5, 0.8, 0.7], RescaleSlope=1.0, RescaleIntercept=-1024.0
    )
    found = read_npz(path)
    np.testing.assert_array_equal(found.volume.voxels.T, DATA.astype(np.float16))
    assert found.volume.spacing == (0.7, 0.8, 1.5)
    assert found.rescale == (1.0, -1024.0)
    np.savez(path, image=DATA)
    assert read_npz(path).volume.spacing is None
    assert read_npz(path).rescale is None


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "object": ({"image": np.array([[[{}]]])}, "allow_pickle"),
    "flat": ({"image": DATA[0]}, "not 3-D"),
    "empty": ({"image": DATA[:0]}, "not 3-D"),
    "complex": ({"image": DATA.astype(np.complex64)}, "dtype"),
    "no image": ({"picture": DATA}, "no array named image"),
    "spacing": ({"image": DATA, "spacing": [1.0, 0.0, 1.0]}, "spacing"),
    "spacing of two": ({"image": DATA, "spacing": [1.0, 1.0]}, "spacing"),
}


@pytest.mark.parametrize("kind", BAD)
def test_refuses(tmp_path: Path, kind: str) -> None:
    arrays, reason = BAD[kind]
    path = tmp_path / "train_7_a_1.npz"
    np.savez(path, **arrays)
    with pytest.raises(BadInput, match=r"train_7_a_1\.npz cannot be read") as error:
        read_npz(path)
    assert reason in str(error.value)


def test_refuses_a_bomb_a_cut_file_and_another_format(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez_compressed(path, image=np.zeros((512, 512, 64), np.int16))
    with pytest.raises(BadInput, match="limit"):
        read_npz(path, limit=1 << 20)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadInput, match="cannot be read"):
        read_npz(path)
    path.write_bytes(b"no zip at all")
    with pytest.raises(BadInput, match="cannot be read"):
        read_npz(path)

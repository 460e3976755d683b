"""Bare voxels in archives: what their description must say, and that it is part of what a shard is made from."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgassets.errors import BadInput
from imgassets.sources.ct_webdataset import Archives
from imgassets.volumes.npz import read_npz

VOXELS = np.arange(24, dtype="<i2").reshape(2, 3, 4) - 500
ABOUT: dict[str, Any] = {"shape": [2, 3, 4], "dtype": "int16", "spacing": [0.7, 0.8, 1.5], "labels": [0, 1] * 9}


def archive(folder: Path, about: dict[str, Any], voxels: bytes = VOXELS.tobytes()) -> Archives:
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / "raw-0.tar", "w") as target:
        for name, data in {"a_1.bin": voxels, "a_1.json": json.dumps(about).encode(), "a_1.txt": b"Clear."}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            target.addfile(info, io.BytesIO(data))
    return Archives(str(folder / "raw-*.tar"))


def test_bare_voxels_are_what_their_description_says(tmp_path: Path) -> None:
    source = archive(tmp_path / "tars", ABOUT | {"RescaleSlope": 2, "RescaleIntercept": -1})
    (row,) = source.listing(4).volumes
    assert (row.skip, row.report, row.labels, row.scale) == (None, "Clear.", (0, 1) * 9, (2.0, -1.0))
    assert row.file
    found = read_npz(source.fetch(row.file, "", tmp_path / "work"))
    assert found.volume.spacing == (0.7, 0.8, 1.5)
    assert found.volume.shape_xyz == (2, 3, 4)
    np.testing.assert_array_equal(found.volume.voxels.transpose(2, 1, 0), VOXELS)


def test_another_description_of_the_same_bytes_is_another_file(tmp_path: Path) -> None:
    paths = set()
    for change in ({}, {"shape": [4, 3, 2]}, {"dtype": "uint16"}, {"spacing": [1.5, 0.8, 0.7]}):
        (row,) = archive(tmp_path / "tars", ABOUT | change).listing(4).volumes
        assert row.file
        paths.add(row.file.path)
    assert len(paths) == 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shape": None}, "no shape"),
        ({"dtype": None}, "no dtype"),
        ({"spacing": None}, "no spacing"),
        ({"shape": [2, 3, 5]}, "48 bytes are no int16 of shape (2, 3, 5)"),
        ({"shape": [24]}, "no int16 of shape (24,)"),
        ({"shape": [-2, -3, 4]}, "no int16 of shape"),
        ({"dtype": "object"}, "no object of shape"),
        ({"dtype": "cats"}, "cats"),
        ({"spacing": [0, 1, 1]}, "not three positive numbers"),
        ({"spacing": [1, float("nan"), 1]}, "not three positive numbers"),
        ({"source_shape": [512, 512, 300]}, "preprocessed before"),
    ],
)
def test_an_unclear_description_leaves_the_volume_out(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    about = {name: value for name, value in (ABOUT | change).items() if value is not None}
    (row,) = archive(tmp_path / "tars", about).listing(4).volumes
    assert reason in str(row.skip)
    assert row.shard is None


def test_an_archive_that_changed_is_refused(tmp_path: Path) -> None:
    source = archive(tmp_path / "tars", ABOUT)
    (row,) = source.listing(4).volumes
    assert row.file
    archive(tmp_path / "tars", ABOUT, VOXELS[::-1].tobytes())
    with pytest.raises(BadInput, match=r"a_1\.bin in raw-0\.tar: its SHA-256 is not that of the listing"):
        source.fetch(row.file, "", tmp_path / "work")

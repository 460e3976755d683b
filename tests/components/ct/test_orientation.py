"""Which way up: told of every sample, counted, noted where it differs, and turned where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from imgassets import open_store
from imgassets.sample_data.ct_rate import files
from imgassets.stores.ct import CtStore
from imgassets.volumes import to_patient
from tests.components.ct.test_volumes import GRID, SHAPE, SPACING, World, mirror
from tests.volumes.phantom import chest

KEYS = ("train_1_a_1", "train_2_a_1", "train_3_a_1")
LPS = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1])
RAS = np.diag([*SPACING, 1.0])
LPS[:3, 3], RAS[:3, 3] = (44.0, 30.0, -20.0), (44.0 - 29 * SPACING[0], 30.0 - 27 * SPACING[1], -20.0)
"""Of one body: RAS is LPS with x and y flipped."""


def image(affine: Any, folder: Path) -> bytes:
    body = chest(SHAPE)
    nibabel.save(nibabel.Nifti1Image(body[::-1, ::-1] if affine is RAS else body, affine), folder / "v.nii.gz")
    return (folder / "v.nii.gz").read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> str:
    """The same body three times: RAS, RAS and LPS."""
    content = dict(files({"train": KEYS}, SHAPE, SPACING))
    content = {path: data for path, data in content.items() if not path.endswith(".nii.gz")}
    for key, affine in zip(KEYS, (RAS, RAS, LPS), strict=True):
        content[f"dataset/train_fixed/{key[:7]}/{key[:9]}/{key}.nii.gz"] = image(affine, tmp_path)
    table = "dataset/metadata/train_metadata.csv"  # the sample's own dirt is not wanted here
    content[table] = "\n".join(
        ["VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing",
         *(f'{key}.nii.gz,1,0,"[{SPACING[0]}, {SPACING[1]}]",{SPACING[2]}' for key in KEYS)]
    ).encode()  # fmt: skip
    return mirror(tmp_path / "mirror", content)


def test_mixed_volumes_as_stored_are_noted_and_counted(place: str, tmp_path: Path) -> None:
    world = World(tmp_path, place, splits=["train"])
    split = world.all()
    (note,) = split.manifest["noted"]
    assert note["key"] == KEYS[2]
    assert "axes are LPS, those of most of the split RAS" in note["note"]
    np.testing.assert_array_equal(split[0].volume, split[1].volume)
    assert not np.allclose(split[0].volume, split[2].volume, atol=0.01)
    assert "axes" not in split.document(0)  # CT-RATE's own bytes are what they were
    assert "orientation" not in split.manifest["preprocessing"]
    result = world.run("manifest", "train", {"force": True})
    (event,) = result.asset_materializations_for_node("ct__manifest")
    assert event.metadata["axes of the sources"].value == {"RAS": 2, "LPS": 1}
    (check,) = [found for found in result.get_asset_check_evaluations() if found.check_name == "one_way_up"]
    assert not check.passed
    assert check.description == "2 RAS, 1 LPS: set orientation: RAS"


def test_turned_they_are_one_body_that_leads_back(place: str, tmp_path: Path) -> None:
    world = World(tmp_path, place, splits=["train"], orientation="RAS")
    split = world.all()
    assert split.manifest["noted"] == []
    assert split.manifest["preprocessing"]["orientation"] == "RAS"
    np.testing.assert_array_equal(split[0].volume, split[1].volume)
    assert np.abs(split[0].volume.astype(float) - split[2].volume).max() <= 2.0**-11
    told = [split.document(row) for row in range(3)]
    assert [one["source_axes"] for one in told] == ["RAS", "RAS", "LPS"]
    assert [one["axes"] for one in told] == ["RAS"] * 3
    np.testing.assert_allclose(told[0]["affine"], told[2]["affine"], atol=1e-4)
    store = open_store(split.folder)
    assert isinstance(store, CtStore)
    to_patient(store[2].volume, store.document(2), tmp_path / "back.nii.gz")
    back = nibabel.load(tmp_path / "back.nii.gz")
    assert nibabel.aff2axcodes(back.affine) == ("R", "A", "S")
    middle = np.array(GRID["shape"]) // 2
    stored = np.linalg.inv(LPS) @ back.affine @ [*middle, 1]
    voxel = np.clip(chest(SHAPE), -1000, 1000)[tuple(np.round(stored[:3]).astype(int))] / 1000
    assert abs(float(back.get_fdata()[tuple(middle)]) - voxel) < 0.3


def test_a_file_that_does_not_say_is_left_out_where_it_would_be_turned(tmp_path: Path) -> None:
    content = dict(files({"train": ("train_1_a_1", "train_10_a_1")}, SHAPE, SPACING))
    path = next(path for path in content if path.endswith("train_1_a_1.nii.gz"))
    content[path] = image(LPS, tmp_path)
    world = World(tmp_path, mirror(tmp_path / "mirror", content), splits=["train"], orientation="RAS")
    split = world.all()
    assert split.study_ids == ["train_1_a_1"]
    (left_out,) = split.manifest["skipped"]
    assert left_out["reason"].startswith("its file does not say which way up it lies")
    assert json.dumps(split.document(0)["affine"])

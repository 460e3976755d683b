"""Which way up volumes lie, against nibabel and scipy in float64: all 48 orders and directions, three obliquities."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from imgassets.errors import BadInput
from imgassets.volumes import to_patient
from imgassets.volumes.grid import Preprocessing
from imgassets.volumes.nifti import parse_header, read_nifti
from imgassets.volumes.orientation import Turn, along, geometry, oblique_degrees, to_ras, turned, upright
from imgassets.volumes.reference import evaluate
from imgassets.volumes.resample import resample
from imgassets.volumes.volume import Volume
from tests.volumes.phantom import chest

SHAPE, SPACING = (17, 14, 11), (2.5, 2.0, 3.5)
RECIPE = Preprocessing(shape=(19, 12, 16), spacing=(2.0, 2.3, 3.0), orientation="RAS")  # crops some axes, pads others
STEP = 2.0**-11
ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
OBLIQUE = (0.0, 8.0, 35.0)


def rotation(degrees: float) -> Any:
    """About an axis that is none of the patient's."""
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine_of(order: tuple[int, ...], signs: tuple[int, ...], degrees: float) -> Any:
    """Stored axis k leads along the patient's axis `order[k]`, turned by some degrees."""
    affine = np.eye(4)
    straight = np.zeros((3, 3))
    for axis, (end, sign) in enumerate(zip(order, signs, strict=True)):
        straight[end, axis] = sign * SPACING[axis]
    affine[:3, :3], affine[:3, 3] = rotation(degrees) @ straight, (-31.0, 17.5, 120.0)
    return affine


def stored(affine: Any) -> Volume:
    data = chest(SHAPE)
    return Volume(np.ascontiguousarray(data.T), 1.0, 0.0, SPACING, affine)


def made(volume: Volume, recipe: Preprocessing = RECIPE) -> tuple[Any, dict[str, Any]]:
    """The result and its geometry."""
    assert volume.affine is not None
    assert volume.spacing is not None
    turn = to_ras(volume.affine) if recipe.orientation == "RAS" else Turn()
    out = np.empty(recipe.shape, np.float16)
    plans = resample(turned(volume, turn), along(volume.spacing, turn), recipe, out, flips=turn.flips)
    return out, geometry(volume.affine, turn, recipe.orientation, plans, volume.shape_xyz)


@pytest.mark.parametrize("degrees", OBLIQUE)
@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_every_order_of_axes(order: tuple[int, ...], signs: tuple[int, ...], degrees: float) -> None:
    affine = affine_of(order, signs, degrees)
    volume = stored(affine)
    out, meta = made(volume)
    assert meta["source_axes"] == "".join(nibabel.aff2axcodes(affine))
    assert meta["axes"] == "RAS"
    assert "".join(nibabel.aff2axcodes(np.array(meta["affine"]))) == "RAS"
    angles = nibabel.affines.obliquity(affine)
    assert meta["oblique_degrees"] == pytest.approx(np.degrees(np.max(angles)), abs=2e-3)

    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.voxels.T, affine))
    canonical = Volume(np.ascontiguousarray(np.asarray(image.dataobj).T), 1.0, 0.0, None)
    positions = np.indices(RECIPE.shape).reshape(3, -1)
    zooms = tuple(float(np.linalg.norm(image.affine[:3, k])) for k in range(3))
    expected = evaluate(canonical, (zooms[0], zooms[1], zooms[2]), RECIPE, positions).reshape(RECIPE.shape)
    assert np.abs(out - expected).max() <= STEP

    places = np.linalg.inv(affine) @ np.array(meta["affine"]) @ np.vstack([positions, np.ones(positions.shape[1])])
    clipped = np.clip(volume.voxels.T.astype(np.float64), -1000, 1000) / 1000
    there = map_coordinates(clipped, places[:3], order=1, mode="nearest").reshape(RECIPE.shape)
    inside = np.all((places[:3] > -0.5) & (places[:3] < np.array(SHAPE)[:, None] - 0.5), 0).reshape(RECIPE.shape)
    assert inside.mean() > 0.5
    assert np.abs(out - there)[inside].max() <= STEP
    assert (out[~inside] == -1).all()


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_as_stored_leads_back_too(signs: tuple[int, ...]) -> None:
    affine = affine_of((0, 1, 2), signs, 8.0)
    as_stored = replace(RECIPE, orientation="as_stored")
    volume = stored(affine)
    out, meta = made(volume, as_stored)
    plain = np.empty_like(out)
    resample(volume, SPACING, as_stored, plain)
    np.testing.assert_array_equal(out, plain)
    assert meta["axes"] == meta["source_axes"] == "".join(nibabel.aff2axcodes(np.array(meta["affine"])))
    positions = np.indices(RECIPE.shape).reshape(3, -1)
    places = np.linalg.inv(affine) @ np.array(meta["affine"]) @ np.vstack([positions, np.ones(positions.shape[1])])
    clipped = np.clip(volume.voxels.T.astype(np.float64), -1000, 1000) / 1000
    there = map_coordinates(clipped, places[:3], order=1, mode="nearest").reshape(RECIPE.shape)
    inside = out != -1
    assert np.abs(out - there)[inside].max() <= STEP


@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
    st.lists(st.integers(1, 12), min_size=3, max_size=3),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
@settings(max_examples=60, deadline=None)
def test_flips_are_those_of_the_volume(sizes: list[int], target: list[int], flips: tuple[bool, bool, bool]) -> None:
    data = chest((sizes[0], sizes[1], sizes[2]))
    recipe = Preprocessing(shape=(target[0], target[1], target[2]), spacing=(1.0, 1.0, 1.0))
    turned_before = data[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    found, expected = (np.empty(recipe.shape, np.float16) for _ in range(2))
    volume = Volume(np.ascontiguousarray(data.T), 1.0, 0.0, None)
    resample(volume, (1.3, 1.0, 2.1), recipe, found, flips=flips)
    resample(replace(volume, voxels=turned_before.T.copy()), (1.3, 1.0, 2.1), recipe, expected)
    assert np.abs(found.astype(float) - expected).max() <= STEP


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1), (0, 0)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_headers_lie_where_nibabel_has_them(tmp_path: Path, kind: Any, codes: tuple[int, int], order: str) -> None:
    affine = affine_of((1, 0, 2), (-1, 1, 1), 0.0 if codes[0] else 8.0)
    image = kind(chest(SHAPE), None, kind.header_class(endianness=order))
    image.header.set_zooms(SPACING)
    image.set_sform(affine, codes[0])
    image.set_qform(affine_of((0, 2, 1), (1, -1, 1), 20.0), codes[1])
    nibabel.save(image, tmp_path / "v.nii.gz")
    volume, again = read_nifti(tmp_path / "v.nii.gz"), nibabel.load(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(volume.voxels.T, again.get_fdata())
    if codes == (0, 0):
        assert volume.affine is None
    else:
        assert volume.affine is not None
        np.testing.assert_allclose(volume.affine, again.affine, atol=2e-5)


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_integers_of_eight_bytes(dtype: str) -> None:
    data = np.abs(chest(SHAPE)).astype(dtype)
    voxels = np.ascontiguousarray(data.T)
    wide, plain = (np.empty(RECIPE.shape, np.float16) for _ in range(2))
    resample(Volume(voxels, 1.0, -1024.0, None), SPACING, RECIPE, wide)
    resample(Volume(voxels.astype(np.int32), 1.0, -1024.0, None), SPACING, RECIPE, plain)
    np.testing.assert_array_equal(wide, plain)


@pytest.mark.parametrize("wrong", [np.zeros((3, 4)), np.full((3, 4), np.nan), np.ones((3, 4))])
def test_what_is_no_affine_says_nothing(wrong: Any) -> None:
    image = nibabel.Nifti1Image(chest(SHAPE), np.eye(4))
    raw = bytearray(image.header.binaryblock)
    raw[344:348] = b"n+1\0"
    raw[108:112] = np.float32(352).tobytes()
    raw[112:120] = np.array([1, 0], "<f4").tobytes()
    raw[280:328] = wrong.astype("<f4").tobytes()
    assert parse_header(bytes(raw)).affine is None


@pytest.mark.parametrize("dtype", ["f2", "f4", "?", "u1", "i2", "i8"])
def test_back_to_the_patient(tmp_path: Path, dtype: str) -> None:
    affine = affine_of((1, 0, 2), (-1, 1, 1), 8.0)
    out, meta = made(stored(affine))
    array = (out > 0) if dtype == "?" else (out * 100).astype(dtype)
    to_patient(array, meta, tmp_path / "v.nii.gz")
    image = nibabel.load(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(image.get_fdata(), array.astype(np.float64))
    np.testing.assert_allclose(image.affine, meta["affine"], rtol=1e-6, atol=1e-5)
    crop = nibabel.Nifti1Image.from_stream(io.BytesIO(to_patient(array[3:9, 2:7, 4:6], meta, start=(3, 2, 4))))
    np.testing.assert_allclose(crop.affine @ [0, 0, 0, 1], image.affine @ [3, 2, 4, 1], atol=1e-4)
    assert crop.shape == (6, 5, 2)


def test_what_cannot_be_put_back() -> None:
    with pytest.raises(BadInput, match="scan_1 has no affine"):
        to_patient(np.zeros((2, 2, 2)), {"study_id": "scan_1", "affine": None})
    with pytest.raises(BadInput, match="not complex64 of shape"):
        to_patient(np.zeros((2, 2, 2), np.complex64), {"affine": np.eye(4).tolist()})


def test_angles() -> None:
    assert oblique_degrees(affine_of((0, 1, 2), (1, 1, 1), 0.0)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("order", "signs"), ORDERS[::7])
def test_upright_volumes_are_nibabels_canonical_ones(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    affine = affine_of(order, signs, 8.0)
    volume, spacing = upright(stored(affine), SPACING)
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(chest(SHAPE), affine))
    np.testing.assert_array_equal(volume.voxels.T, image.dataobj)
    np.testing.assert_allclose(spacing, np.linalg.norm(image.affine[:3, :3], axis=0))

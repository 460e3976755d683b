"""The kernel against the reference's definition evaluated in float64 by another program (scipy), voxel by voxel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253  (the test is about torch code)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from imgassets.volumes import resample as kernel
from imgassets.volumes.grid import Preprocessing, plan_axis
from imgassets.volumes.resample import resample
from imgassets.volumes.volume import Volume
from tests.volumes.phantom import chest

STEP = 2**-11 + 1e-6


def volume_of(data: np.ndarray[Any, Any], slope: float = 1.0, intercept: float = 0.0) -> Volume:
    return Volume(np.ascontiguousarray(data.T), slope, intercept, None)


def truth(hu: np.ndarray[Any, Any], spacing: tuple[float, ...], recipe: Preprocessing) -> np.ndarray[Any, Any]:
    """Clip, resize (corners not aligned), divide, crop or pad, in float64 and from the definition alone."""
    hu = np.clip(hu.astype(np.float64), *recipe.hu_clip)
    places, boxes = [], []
    for n, mm, target, size in zip(hu.shape, spacing, recipe.spacing, recipe.shape, strict=True):
        length = int(n * (mm / target))
        kept = np.arange(length)[max(length - size, 0) // 2 :][:size]
        places.append(np.clip((kept + 0.5) * n / length - 0.5, 0, n - 1))
        start = max(size - length, 0) // 2
        boxes.append(slice(start, start + len(kept)))
    out = np.full(recipe.shape, recipe.pad_value)
    grid = np.meshgrid(*places, indexing="ij")
    out[tuple(boxes)] = map_coordinates(hu, grid, order=1, mode="nearest") / recipe.divisor
    return out


def run(volume: Volume, spacing: tuple[float, float, float], recipe: Preprocessing, **options: Any) -> Any:
    out = np.full(recipe.shape, np.float16(np.nan))
    resample(volume, spacing, recipe, out, **options)
    return out


def check(out: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    error = np.abs(out.astype(np.float64) - expected)
    assert error.max() <= STEP
    assert error.mean() < 1.3e-4
    if out.size > 10_000:
        assert np.mean(out != expected.astype(np.float16)) < 1e-3


def test_full_size_is_within_one_float16_step_of_float64() -> None:
    data = chest((600, 120, 60))
    recipe, spacing = Preprocessing(), (0.9, 0.77, 1.25)
    check(run(volume_of(data), spacing, recipe), truth(data, spacing, recipe))


SMALL = Preprocessing(shape=(40, 37, 33))
sizes = st.integers(1, 60)
spacings = st.floats(0.4, 3.0)


@given(st.tuples(sizes, sizes, sizes), st.tuples(spacings, spacings, spacings), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_any_shape_and_spacing(shape: Any, spacing: Any, seed: int) -> None:
    if any(int(n * (mm / t)) < 1 for n, mm, t in zip(shape, spacing, SMALL.spacing, strict=True)):
        with pytest.raises(ValueError, match="less than one"):
            run(volume_of(chest(shape, seed)), spacing, SMALL)
        return
    data = chest(shape, seed)
    out, expected = run(volume_of(data), spacing, SMALL), truth(data, spacing, SMALL)
    assert np.abs(out - expected).max() <= STEP


@given(st.integers(1, 600), spacings, spacings, st.integers(1, 300))
def test_axis_plan_stays_inside_and_is_centred(n: int, mm: float, target: float, size: int) -> None:
    if int(n * (mm / target)) < 1:
        return
    axis = plan_axis(n, mm, target, size)
    assert axis.keep == min(axis.resized, size) == len(axis.low) == len(axis.high) == len(axis.weight)
    assert axis.low.min() >= 0
    assert axis.high.max() < n
    assert ((axis.weight >= 0) & (axis.weight <= 1)).all()
    assert ((axis.high - axis.low) <= 1).all()
    assert axis.before == (size - axis.keep) // 2


def test_axes_are_x_y_z_and_none_is_flipped() -> None:
    recipe = Preprocessing(shape=(24, 20, 16), spacing=(1, 1, 1))
    data = np.full((24, 20, 16), -1000, np.int16)
    data[3, 5, 7] = 1000
    out = run(volume_of(data), (1, 1, 1), recipe)
    assert np.argwhere(out > 0).tolist() == [[3, 5, 7]]
    data[:] = -1000
    data[20:, 2, 1] = 1000  # a bar at the far end of x, near the beginning of y and z
    out = run(volume_of(data), (1, 1, 1), recipe)
    assert np.argwhere(out > 0)[:, 0].tolist() == [20, 21, 22, 23]
    assert {tuple(v[1:]) for v in np.argwhere(out > 0)} == {(2, 1)}


def test_padding_is_exact_and_inside_is_not_touched_by_it() -> None:
    recipe = Preprocessing(shape=(41, 38, 35), pad_value=-1.0)
    out = run(volume_of(np.full((20, 20, 20), 500, np.int16)), (0.75, 0.75, 1.5), recipe)
    content = out == 0.5
    assert content.sum() == 20**3
    assert (out[~content] == -1).all()
    assert np.argwhere(content).min(0).tolist() == [10, 9, 7]


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4", "f8"])
def test_every_stored_type_with_scaling(kind: str) -> None:
    hu = chest((30, 28, 26))
    slope, intercept = (8.0, -1024.0) if kind in ("u1", "u2", "u4") else (8.0, 0.0)
    stored = np.clip((hu - intercept) / slope, 0 if kind[0] == "u" else -128, 255 if kind == "u1" else 127).astype(kind)
    expected = truth(stored.astype(np.float64) * slope + intercept, (1, 1, 2), SMALL)
    out = run(volume_of(stored, slope, intercept), (1, 1, 2), SMALL)
    assert np.abs(out - expected).max() <= STEP


def test_wide_integers_keep_hu_that_float32_would_lose() -> None:
    hu = np.linspace(-1000, 1000, 8000).reshape(20, 20, 20)
    stored = (hu * 1000 + 2_000_000_000).astype(np.int32)
    recipe = Preprocessing(shape=(20, 20, 20), spacing=(1, 1, 1))
    out = run(volume_of(stored, 1e-3, -2_000_000.0), (1, 1, 1), recipe)
    assert np.abs(out - np.clip(hu, -1000, 1000) / 1000).max() <= STEP


def test_a_second_rescale_is_applied_only_when_asked_for() -> None:
    hu = chest((20, 20, 20))
    recipe = Preprocessing(shape=(20, 20, 20), spacing=(1, 1, 1))
    plain, twice = run(volume_of(hu), (1, 1, 1), recipe), run(volume_of(hu), (1, 1, 1), recipe, scale=(1.0, -8192.0))
    np.testing.assert_allclose(plain, np.clip(hu, -1000, 1000) / 1000, atol=STEP)
    assert (twice == -1).all()


@pytest.mark.parametrize("tile", [(1, 1), (7, 5), (1000, 1000)])
def test_result_does_not_depend_on_tiles_or_threads(monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int]) -> None:
    data, recipe = chest((50, 47, 44)), replace(SMALL, shape=(64, 60, 40))
    expected = run(volume_of(data), (0.9, 0.8, 1.1), recipe)
    monkeypatch.setattr(kernel, "SLICES", tile[0])
    monkeypatch.setattr(kernel, "ROWS", tile[1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(run(volume_of(data), (0.9, 0.8, 1.1), recipe), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])
def test_every_device_there_is_keeps_the_tolerance(device: str) -> None:
    data = chest((70, 60, 50))
    recipe, spacing = replace(SMALL, shape=(90, 80, 70)), (0.9, 0.77, 1.25)
    check(run(volume_of(data), spacing, recipe, device=device), truth(data, spacing, recipe))

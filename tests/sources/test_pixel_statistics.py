from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.sample_data.pictures import picture
from imgassets.sources.pixel_statistics import Neighbours, PixelStatistics


def check(statistics: PixelStatistics, images: np.ndarray, resolution: int) -> None:
    wide = images.astype(np.int64)
    assert statistics.rows == len(images)
    np.testing.assert_array_equal(statistics.pixel_sums(), wide.sum(0))
    planes = wide.reshape(len(images), 3, resolution**2)
    for i, channel in enumerate(statistics.channels()):
        plane = planes[:, i].ravel()
        assert (channel.min, channel.max) == (plane.min(), plane.max())
        assert channel.mean == plane.sum() / plane.size
        assert channel.std == pytest.approx(plane.std(), rel=1e-12, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 900),
    cuts=st.lists(st.integers(0, 900), max_size=6),
    low=st.integers(0, 255),
    high=st.integers(0, 255),
    seed=st.integers(0, 1000),
)
def test_agrees_with_numpy_for_any_blocks(rows: int, cuts: list[int], low: int, high: int, seed: int) -> None:
    low, high = sorted((low, high))
    images = np.random.default_rng(seed).integers(low, high, (rows, 768), dtype=np.uint8, endpoint=True)
    statistics = PixelStatistics(16)
    for block in np.split(images, sorted(min(cut, rows) for cut in cuts)):
        statistics.add(block)
    check(statistics, images, 16)
    check(statistics, images, 16)  # asking changes nothing
    statistics.add(images)
    check(statistics, np.concatenate([images, images]), 16)


@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("value", [0, 255])
def test_no_sum_overflows(resolution: int, value: int) -> None:
    rows = max(3, 600 * 256 // resolution**2)
    images = np.full((rows, 3 * resolution**2), value, np.uint8)
    statistics = PixelStatistics(resolution)
    statistics.add(images)
    statistics.add(images)
    assert (statistics.pixel_sums() == 2 * rows * value).all()
    assert all((c.min, c.max, c.mean, c.std) == (value, value, value, 0) for c in statistics.channels())


def test_white_rows_fill_the_lanes_exactly() -> None:
    statistics = PixelStatistics(16)
    for count in (256, 1, 1, 257, 300):
        statistics.add(np.full((count, 768), 255, np.uint8))
    assert (statistics.pixel_sums() == 815 * 255).all()


def test_channels_are_planes() -> None:
    statistics = PixelStatistics(16)
    statistics.add(np.repeat(np.array([10, 20, 30], np.uint8), 256)[None])
    assert [(c.min, c.max, c.mean, c.std) for c in statistics.channels()] == [(v, v, v, 0) for v in (10, 20, 30)]


@pytest.mark.parametrize("side", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("colours", ["coloured", "gray"])
def test_rows_in_another_order_are_told_by_their_neighbours(side: int, colours: str) -> None:
    pictures = np.stack([picture(seed, side, side, seed / 20) for seed in range(20)])
    if colours == "gray":
        pictures = np.repeat(pictures[..., 1:2], 3, axis=3)
    planar, other = Neighbours(side), Neighbours(side)
    for start in range(0, 20, 5):
        block = pictures[start : start + 5]
        planar.add(block.transpose(0, 3, 1, 2).reshape(len(block), -1))
        other.add(block.reshape(len(block), -1))
    assert planar.warning() is None
    assert f"look like H, W, C, not planar: bytes {3 * side} apart" in str(other.warning())


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 40), side=st.sampled_from([16, 32]), seed=st.integers(0, 1000), high=st.integers(0, 255))
def test_of_noise_and_of_one_colour_nothing_is_told(rows: int, side: int, seed: int, high: int) -> None:
    neighbours = Neighbours(side)
    neighbours.add(np.random.default_rng(seed).integers(0, high, (rows, 3 * side**2), np.uint8, endpoint=True))
    assert neighbours.warning() is None


def test_of_no_rows_nothing_is_told() -> None:
    assert Neighbours(16).warning() is None

"""What is no CT of HU is told from what is one, exactly at the stated share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imgassets.sample_data.ct_rate import chest as body
from imgassets.volumes.verdict import histogram, left_raw, middle_out, scaled_twice, verdict
from imgassets.volumes.volume import Volume
from tests.volumes.phantom import chest


def judge(data: np.ndarray[Any, Any], slope: float = 1.0, intercept: float = 0.0, **options: Any) -> str | None:
    return verdict(Volume(data, slope, intercept, None), **options)


def test_a_chest_is_sound() -> None:
    assert judge(chest((30, 20, 10))) is None
    assert judge(chest((30, 20, 10)).astype(np.float32)) is None


@pytest.mark.parametrize("value", [0, -1000, 40])
def test_constant_is_blank(value: int) -> None:
    assert "blank" in str(judge(np.full((5, 6, 7), value, np.int16)))


def test_one_voxel_that_differs_is_no_longer_constant() -> None:
    data = np.full((9, 6, 7), 40, np.int16)
    data[8, 5, 6] = 41
    assert judge(data) is None


def test_nan_and_inf_anywhere() -> None:
    for value in (np.nan, np.inf):
        data = chest((9, 8, 7)).astype(np.float32)
        data[8, 7, 6] = value
        assert "not finite" in str(judge(data))


@pytest.mark.parametrize(("within", "sound"), [(99, False), (100, True), (101, True)])
def test_share_beyond_is_judged_exactly(within: int, sound: bool) -> None:
    data = np.full(100_000, -1000, np.int16)
    data[:within] = np.arange(within) % 50
    verdict_ = judge(np.random.default_rng(0).permutation(data).reshape(100, 100, 10))
    assert (verdict_ is None) is sound
    if not sound:
        assert "implausible" in str(verdict_)


def test_double_rescale_is_implausible() -> None:
    data = chest((30, 20, 10))
    assert "implausible" in str(judge(data, 1.0, -8192.0))
    assert "implausible" in str(judge(data, scale=(1.0, -8192.0)))
    assert "not finite" in str(judge(data, scale=(float("nan"), 0.0)))


@pytest.mark.parametrize(
    ("lowest", "scale", "told", "raw"),
    [
        (0, (1, 0), (1, -1024), True),  # detector values, which the table would make HU
        (124, (1, 0), (1, -1024), True),
        (-1000, (1, 0), (1, -1024), False),
        (0, (1, -1024), (1, -1024), False),  # the file scales itself
        (0, (-1, 0), (1, -1024), True),
        (-2000, (-1, 0), (1, -1024), True),
        (2000, (-1, 0), (1, -1024), False),
        (0, (1, 0), (1, 0), False),  # the table tells of nothing that could have been left out
        (0, (1, 0), None, False),
    ],
)
def test_raw_values_lack_air(
    lowest: int, scale: tuple[float, float], told: tuple[float, float] | None, raw: bool
) -> None:
    data = np.full((9, 6, 7), 40, np.int16)
    data[8, 5, 6] = lowest
    assert (left_raw(Volume(data, *scale, None), told) is not None) is raw


@pytest.mark.parametrize(
    ("own", "scale", "added", "twice"),
    [
        ((1, 0), (1, -1024), 0, True),  # HU, which the table's intercept makes too low
        ((1, -1024), (1, 0), 0, True),  # the same of the file's own
        ((1, -1024), (1, -1024), 1024, True),
        ((2, -2048), (0.5, 0), 1024, False),
        ((1, 0), (1, -1024), 1024, False),
        ((1, -1024), (1, 0), 1024, False),
        ((1, 0), (1, 0), 0, False),
        ((1, 0), (1, -1000), 0, True),
    ],
)
def test_an_intercept_too_many_leaves_no_tissue(
    own: tuple[float, float], scale: tuple[float, float], added: int, twice: bool
) -> None:
    """Of the sample's chests, with values that were brought to HU before, or `added` to."""
    volume = Volume(body((40, 36, 24), 1) + np.int16(added), *own, None)
    assert verdict(volume, scale) is None
    assert (scaled_twice(volume, scale) is not None) is twice


@pytest.mark.parametrize(("tissue", "twice"), [(99, True), (100, False), (101, False)])
def test_the_least_tissue_is_judged_exactly(tissue: int, twice: bool) -> None:
    data = np.zeros(10_000, np.int16)
    data[:tissue] = 1024
    volume = Volume(np.random.default_rng(0).permutation(data).reshape(100, 10, 10), 1, -1024, None)
    assert (scaled_twice(volume) is not None) is twice


def test_middle_out_visits_every_slice_once() -> None:
    for n in (1, 2, 7, 8):
        assert sorted(middle_out(n)) == list(range(n))
    assert middle_out(5)[0] == 2


def test_histogram_counts_every_value() -> None:
    counts = histogram(np.array([-2, -1, 0, 0.999, 1, 5]), -1, 1, bins=4)
    assert counts == [2, 0, 1, 3]

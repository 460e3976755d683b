import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from imgassets.errors import BadInput
from imgassets.models.statistics import Accumulator, Moments, frechet_distance, merge, overlap

RNG = np.random.default_rng(3)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 1000))
def test_streamed_moments_are_those_of_the_whole(sizes: list[int], seed: int) -> None:
    rows = np.random.default_rng(seed).normal(1000, 1, (sum(sizes), 4))
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    gathered = Accumulator(4, block=7)
    for part in parts:
        gathered.add(part)
    np.testing.assert_allclose(gathered.moments().scatter, Moments.of(rows).scatter, rtol=1e-6, atol=1e-6)
    streamed = merge(map(Moments.of, parts))
    assert streamed.count == gathered.moments().count == len(rows)
    if len(rows) > 1:
        np.testing.assert_allclose(streamed.mean, rows.mean(0), rtol=1e-12)
        np.testing.assert_allclose(streamed.covariance, np.cov(rows.T), rtol=1e-6, atol=1e-8)
    else:
        with pytest.raises(BadInput, match="at least 2 samples"):
            _ = streamed.covariance


def test_moments_survive_storage() -> None:
    moments = Moments.of(RNG.normal(size=(30, 5)))
    again = Moments.from_arrays(moments.as_arrays("midblock"), "midblock")
    assert again.count == 30
    np.testing.assert_array_equal(again.covariance, moments.covariance)


def test_frechet_distance_is_that_of_the_matrix_root() -> None:
    a, b = RNG.normal(size=(400, 6)), RNG.normal(0.3, 1.5, size=(300, 6)) @ RNG.normal(size=(6, 6))
    ma, mb = Moments.of(a), Moments.of(b)
    root = scipy.linalg.sqrtm(ma.covariance @ mb.covariance)
    want = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ma.covariance + mb.covariance - 2 * root).real
    assert frechet_distance(ma, mb) == pytest.approx(want, rel=1e-6)
    assert frechet_distance(ma, ma) == pytest.approx(0, abs=1e-6)


def test_overlap_is_what_its_definition_says() -> None:
    a, b = RNG.normal(size=(700, 3)), RNG.normal(0.7, 0.6, size=(90, 3))
    da, db, cross = cdist(a, a), cdist(b, b), cdist(a, b)
    ra, rb = np.sort(da, 1)[:, 5], np.sort(db, 1)[:, 5]
    got = overlap(a, b, k=5)
    assert got.precision == pytest.approx((cross <= ra[:, None]).any(0).mean())
    assert got.recall == pytest.approx((cross <= rb[None]).any(1).mean())
    assert got.coverage == pytest.approx((cross.min(1) <= ra).mean())
    same = overlap(a, a.copy(), k=5)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    far = overlap(a, a + 1e3, k=5)
    assert (far.precision, far.recall, far.coverage) == (0, 0, 0)


def test_too_few_samples_are_said() -> None:
    with pytest.raises(BadInput, match="5 generated samples"):
        overlap(RNG.normal(size=(9, 3)), RNG.normal(size=(5, 3)), k=5)
    with pytest.raises(BadInput, match="no statistics"):
        merge([])

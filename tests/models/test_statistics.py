import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from imgassets.errors import BadInput
from imgassets.models.statistics import (
    Accumulator,
    Moments,
    frechet_bias,
    frechet_distance,
    frechet_warning,
    merge,
    overlap,
)

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


@pytest.mark.parametrize(("n", "m"), [(40, 30), (200, 30), (300, 200), (2000, 60)])
def test_the_bias_is_what_samples_of_one_distribution_show(n: int, m: int) -> None:
    mix = RNG.normal(size=(48, 48)) * np.linspace(0.2, 3, 48)
    of = Moments.of(RNG.normal(size=(20_000, 48)) @ mix)
    real = [frechet_distance(*(Moments.of(RNG.normal(size=(count, 48)) @ mix) for count in (n, m))) for _ in range(20)]
    told = [frechet_bias(of, n, m, seed) for seed in range(20)]
    assert np.mean(told) == pytest.approx(np.mean(real), rel=0.05)
    assert frechet_bias(of, n, m) == frechet_bias(of, n, m)


@pytest.mark.parametrize(
    ("n", "m", "told"),
    [
        (2, 400, "2 samples are no more than the 20 features"),
        (400, 20, "20 samples are no more than the 20 features"),
        (400, 30, "400 real and 30 generated samples are badly unequal"),
        (30, 400, "30 real and 400 generated samples are badly unequal"),
        (21, 21, None),
        (400, 40, None),
    ],
)
def test_distances_that_tell_little_say_so(n: int, m: int, told: str | None) -> None:
    warning = frechet_warning(Moments.of(RNG.normal(size=(n, 20))), Moments.of(RNG.normal(size=(m, 20))))
    assert (warning is None) if told is None else (warning or "").startswith(f"{told}")
    assert told is None or "two samples of one distribution would be about" in str(warning)


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

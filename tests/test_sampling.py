from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets import sampling
from imgassets.sampling import quota_order

class_sizes = st.lists(st.integers(1, 60), min_size=1, max_size=12)
long_tails = st.lists(st.sampled_from([1, 1, 1, 2, 3, 300]), min_size=1, max_size=8)


def labels_of(sizes: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)) * 7 - 3, sizes))


def worst_deviation(labels: np.ndarray, order: np.ndarray) -> Fraction:
    """Largest distance of any prefix from any class's share, in rows, in exact arithmetic."""
    total, worst = len(labels), 0
    for value in np.unique(labels):
        hits = np.cumsum(labels[order] == value)
        size = int((labels == value).sum())
        worst = max(worst, int(np.abs(hits * total - np.arange(1, len(order) + 1) * size).max()))
    return Fraction(worst, total)


@settings(deadline=None)
@given(st.one_of(class_sizes, long_tails), st.integers(0, 2**32))
def test_every_prefix_is_within_one_row_of_every_share(sizes: list[int], seed: int) -> None:
    labels = labels_of(sizes, seed)
    order = quota_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert worst_deviation(labels, order) < 1


@settings(deadline=None)
@given(class_sizes, st.integers(0, 1000), st.integers(0, 400))
def test_a_shorter_order_is_a_prefix_of_a_longer_one(sizes: list[int], seed: int, stop: int) -> None:
    labels = labels_of(sizes)
    assert quota_order(labels, seed, stop).tolist() == quota_order(labels, seed)[:stop].tolist()


def test_batches_of_positions_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = labels_of([5, 40, 17, 1, 90])
    whole = quota_order(labels, 3)
    monkeypatch.setattr(sampling, "BATCH", 7)
    assert (quota_order(labels, 3) == whole).all()


def test_seed_decides_and_repeats() -> None:
    labels = labels_of([30] * 20)
    first = quota_order(labels, 1)
    assert first.dtype == np.int64
    assert (first == quota_order(labels, 1)).all()
    assert (first != quota_order(labels, 2)).any()


def test_rounds_of_equal_classes_do_not_repeat_their_order() -> None:
    labels = labels_of([8] * 50)
    rounds = labels[quota_order(labels, 0)].reshape(8, 50)
    assert (np.sort(rounds, axis=1) == np.unique(labels)).all()
    assert len({tuple(r) for r in rounds.tolist()}) == 8


def test_rows_of_a_class_come_in_random_order() -> None:
    order = quota_order(np.zeros(500, np.int64), 0)
    assert abs(float(np.corrcoef(order, np.arange(500))[0, 1])) < 0.2


def test_nothing_from_nothing() -> None:
    assert quota_order(np.empty(0, np.int64), 0).shape == (0,)
    assert quota_order(np.zeros(3, np.int64), 0, stop=0).shape == (0,)


def test_a_whole_imagenet() -> None:
    sizes = np.random.default_rng(0).integers(732, 1301, 1000).tolist()
    labels = labels_of(sizes)
    order = quota_order(labels, 0)
    assert (np.bincount(order, minlength=len(labels)) == 1).all()
    for stop in (1, 999, 17_124, 500_001, len(labels) - 1):
        share = np.bincount((labels[order[:stop]] + 3) // 7, minlength=1000) * len(labels) - stop * np.array(sizes)
        assert int(np.abs(share).max()) < len(labels)

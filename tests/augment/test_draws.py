"""Random numbers of a row are numpy's own Philox, and no others than an epoch's order uses."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imgassets.augment.draws import draws


@given(
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**64 - 1),
    rows=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5),
    blocks=st.integers(0, 12),
)
def test_numbers_are_numpy_s_philox(seed: int, epoch: int, rows: list[int], blocks: int) -> None:
    found = draws(seed, epoch, np.array(rows, np.int64), blocks)
    assert found.shape == (len(rows), 4 * blocks)
    for row, numbers in zip(rows, found, strict=True):
        philox = np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=np.array([0, row, 1, 0], np.uint64))
        np.testing.assert_array_equal(numbers, np.random.Generator(philox).random(4 * blocks))


def test_neighbours_share_nothing() -> None:
    numbers = np.stack([draws(seed, epoch, np.arange(200), 11) for seed in range(3) for epoch in range(3)])
    assert len(np.unique(numbers)) == numbers.size
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(numbers.reshape(-1, 44).T) - np.eye(44)).max() < 0.12

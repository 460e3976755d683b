"""Chunks and order."""

from __future__ import annotations

import math
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imgassets.sources.sharding import chunk, shuffled, stem, stems


@given(n=st.integers(0, 3000), shards=st.integers(1, 300))
def test_chunks_are_consecutive_and_of_the_reference_size(n: int, shards: int) -> None:
    chunks = [chunk(n, shards, k) for k in range(shards)]
    assert [i for part in chunks for i in part] == list(range(n))
    size = math.ceil(n / shards)
    assert [len(part) for part in chunks] == [max(0, min(size, n - k * size)) for k in range(shards)]


@given(n=st.integers(0, 3000), shards=st.integers(1, 300))
def test_even_chunks_differ_by_one_at_most(n: int, shards: int) -> None:
    chunks = [chunk(n, shards, k, "even") for k in range(shards)]
    assert [i for part in chunks for i in part] == list(range(n))
    assert max(map(len, chunks)) - min(map(len, chunks)) <= 1


def test_the_full_release_has_the_reference_shard_sizes() -> None:
    train = [len(chunk(1_281_167, 1024, k)) for k in range(1024)]
    assert set(train[:-1]) == {1252}
    assert train[-1] == 371
    validation = [len(chunk(50_000, 128, k)) for k in range(128)]
    assert set(validation[:-1]) == {391}
    assert validation[-1] == 343


def test_order_is_pinned() -> None:
    assert shuffled(10, 0).tolist() == [7, 8, 1, 5, 3, 4, 2, 0, 9, 6]  # CPython's random.seed(0); random.shuffle
    assert shuffled(5, None).tolist() == [0, 1, 2, 3, 4]


@given(n=st.integers(0, 500) | st.integers(16_000, 17_000) | st.integers(65_500, 65_600), seed=st.integers(-9, 2**70))
def test_the_order_is_that_of_the_standard_library(n: int, seed: int) -> None:
    order = list(range(n))
    random.Random(seed).shuffle(order)
    assert shuffled(n, seed).tolist() == order


def test_the_order_of_the_full_release() -> None:
    order = list(range(1_281_167))
    random.Random(0).shuffle(order)
    assert np.array_equal(shuffled(len(order), 0), order)


def test_names() -> None:
    assert stem("train", 17, 1024) == "train-00017-of-01024"
    assert stems("validation", 2) == ["validation-00000-of-00002", "validation-00001-of-00002"]

"""What a backfill, a repair and a verification hold does not grow with the number of their runs."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import dagster as dg
import pytest

from imgassets.operations.backfill import backfill
from imgassets.operations.selection import select_one
from imgassets.operations.verify import verify
from tests.operations.conftest import BATCHES, Home

MOST = 1_000_000
"""Bytes that later runs may hold beyond the first ones: less than a single run leaves behind."""


@pytest.fixture
def held() -> Iterator[list[int]]:
    """To be filled with the bytes that are held after each run; no collector comes by chance."""
    gc.disable()
    tracemalloc.start()
    yield []
    tracemalloc.stop()
    gc.enable()


def test_runs_of_a_backfill(made: Home, held: list[int]) -> None:
    def observe(_: str) -> None:
        held.append(tracemalloc.get_traced_memory()[0])

    with dg.DagsterInstance.get() as instance:
        asset = select_one("imagenet64/arrays")
        alone = BATCHES[::3]  # without neighbours: a run each
        backfill(asset, alone, instance, config={"force": True}, observe=observe)
    assert len(held) == len(alone)
    assert max(held[2:]) < held[1] + MOST


def test_backfills_one_after_the_other(made: Home, held: list[int]) -> None:
    """As repair and the jobs of several stages do."""
    with dg.DagsterInstance.get() as instance:
        for name in ("npz_index", "arrays") * 2:
            backfill(select_one(f"imagenet64/{name}"), ["val_data"], instance, config={"force": True})
            held.append(tracemalloc.get_traced_memory()[0])
    assert held[3] < max(held[1:3]) + MOST


def test_partitions_that_are_verified(made: Home, held: list[int]) -> None:
    def observe(_: str) -> None:
        held.append(tracemalloc.get_traced_memory()[0])

    with dg.DagsterInstance.get() as instance:
        verify([(select_one("imagenet64/arrays"), BATCHES)], instance, observe=observe)
    assert max(held[2:]) < held[1] + MOST

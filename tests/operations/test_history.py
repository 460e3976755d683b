"""What a plan takes from earlier runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.operations.plan import HISTORY, _History

KEY = "an asset"


def asset(count: int) -> Any:
    return SimpleNamespace(key=KEY, keys=lambda _: [f"p{n:04d}" for n in range(count)])


def instance(runs: list[list[int]], *, seconds: float, wall: float, selection: set[str]) -> Any:
    """Runs over neighbouring partitions, newest first, each partition of so many bytes."""
    materializations, records, first = [], [], sum(map(len, runs))
    for number, sizes in enumerate(runs):
        first -= len(sizes)
        tags = {
            "dagster/asset_partition_range_start": f"p{first:04d}",
            "dagster/asset_partition_range_end": f"p{first + len(sizes) - 1:04d}",
        }
        run = SimpleNamespace(run_id=str(number), asset_selection=selection, tags=tags)
        records.append(SimpleNamespace(dagster_run=run, start_time=100.0, end_time=100 + wall * len(sizes)))
        for nbytes in reversed(sizes):
            values = {"state": "built", "bytes": nbytes, "seconds": seconds, "peak_memory_MB": 400}
            metadata = {name: SimpleNamespace(value=value) for name, value in values.items()}
            materializations.append(
                SimpleNamespace(run_id=str(number), asset_materialization=SimpleNamespace(metadata=metadata))
            )
    return SimpleNamespace(
        fetch_materializations=lambda _, limit: SimpleNamespace(records=materializations[:limit]),
        get_run_records=lambda filters: [one for one in records if one.dagster_run.run_id in filters.run_ids],
    )


@given(st.lists(st.integers(1, 3 * HISTORY), min_size=1, max_size=3))
def test_whole_runs_count_however_many_partitions_are_looked_at(lengths: list[int]) -> None:
    runs = [[1000] * length for length in lengths]
    found = _History.of(asset(sum(lengths)), instance(runs, seconds=1.0, wall=2.5, selection={KEY}))
    assert found.seconds_per_byte == pytest.approx(2.5 / 1000)
    assert found.memory == 400_000_000


def test_a_run_of_several_assets_is_not_this_one_s() -> None:
    found = _History.of(asset(3), instance([[1000] * 3], seconds=1.0, wall=9.0, selection={KEY, "another"}))
    assert found.seconds_per_byte == pytest.approx(1 / 1000)


def test_no_history() -> None:
    assert _History.of(asset(0), instance([], seconds=1.0, wall=1.0, selection={KEY})) == _History(None, None)

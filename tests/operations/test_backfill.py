"""How a backfill is cut into runs, which assets a selection means, and the guides' mode that runs all stages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.errors import BadInput
from imgassets.operations.selection import definitions, parse_range, select
from imgassets.planning.graph import Asset
from imgassets.sample_data import imagenet64

KEYS = [f"part_{number}" for number in range(30)]


@given(st.sets(st.sampled_from(KEYS)), st.integers(1, 12))
def test_runs_cover_what_is_wanted_once_in_order_and_nothing_between(wanted: set[str], size: int) -> None:
    asset: Any = SimpleNamespace(keys=lambda _: KEYS, run_size=size)
    runs = list(Asset.runs(asset, sorted(wanted), instance=None))  # type: ignore[arg-type]
    assert [key for run in runs for key in run] == [key for key in KEYS if key in wanted]
    for run in runs:
        first, last = KEYS.index(run[0]), KEYS.index(run[-1])
        assert run == KEYS[first : last + 1]  # a range of Dagster's has no gaps
        assert 1 <= len(run) <= size
        assert first // size == last // size  # it ends where it would if all were wanted
    for run, following in pairwise(runs):  # no run could have been longer
        next_one = KEYS.index(run[-1]) + 1
        assert next_one % size == 0 or KEYS.index(following[0]) > next_one


@given(st.sampled_from(KEYS), st.sampled_from(KEYS))
def test_a_range_has_both_ends(first: str, last: str) -> None:
    start, stop = KEYS.index(first), KEYS.index(last)
    if stop < start:
        with pytest.raises(BadInput, match="comes before"):
            parse_range(f"{first}..{last}", KEYS)
    else:
        assert parse_range(f"{first}..{last}", KEYS) == KEYS[start : stop + 1]
    assert parse_range(first, KEYS) == [first]
    with pytest.raises(BadInput, match="materialize the index"):
        parse_range(first, [])


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ("imagenet64/arrays", ["arrays"]),
        ("+imagenet64/arrays", ["npz_index", "arrays"]),
        ("imagenet64/arrays+", ["arrays", "csv_sample"]),
        ("+imagenet64/arrays+", ["npz_index", "arrays", "csv_sample"]),
        ("2+imagenet64/csv_sample", ["npz_index", "arrays", "csv_sample"]),
        ("1+imagenet64/csv_sample", ["arrays", "csv_sample"]),
        ("imagenet64/npz_index+1", ["npz_index", "arrays"]),
        ("imagenet64/*", ["npz_index", "arrays", "csv_sample"]),
        ('key:"imagenet64/csv_sample" or key:"imagenet64/npz_index"', ["npz_index", "csv_sample"]),
    ],
)
def test_a_selection_is_in_the_order_to_make_it(selection: str, names: list[str]) -> None:
    found = [asset.name for asset in select(selection) if asset.name.startswith("imagenet64/")]
    assert [name for name in found if name.rpartition("/")[2] in names] == [f"imagenet64/{name}" for name in names]


def test_everything_is_in_the_order_to_make_it() -> None:
    names = [asset.name for asset in select("*")]
    places = [names.index(f"imagenet64/{name}") for name in ("npz_index", "arrays", "csv_sample")]
    assert places == sorted(places)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name in ("IMGASSETS_RAW", "IMGASSETS_STORE"):
        monkeypatch.delenv(name, raising=False)
    definitions.cache_clear()  # they know the folders of the home they were loaded for
    imagenet64.write(tmp_path / "raw")
    yield tmp_path
    definitions.cache_clear()


def test_the_full_mode_makes_all_it_can_and_names_what_it_cannot(home: Path) -> None:
    job = definitions().resolve_job_def("full")
    path = home / "raw" / "imagenet64" / "train_data_batch_10.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        failed = job.execute_in_process(instance=instance, run_config=quiet, raise_on_error=False)
        assert not failed.success
        (event,) = [event for event in failed.all_events if event.is_step_failure]
        failure = event.step_failure_data.user_failure_data
        assert failure is not None
        # its index, the arrays made from that, and the sample made from those
        assert set(failure.metadata) == {
            "imagenet64/npz_index/train_data_batch_10",
            "imagenet64/arrays/train_data_batch_10",
            "imagenet64/csv_sample/train",
        }
        assert str(failure.description).startswith("3 partitions failed. imagenet64/npz_index/train_data_batch_10: ")
        assert len(str(failure.description)) <= 500
        assert len(instance.get_materialized_partitions(dg.AssetKey(["imagenet64", "arrays"]))) == 10
        assert instance.get_materialized_partitions(dg.AssetKey(["imagenet64", "csv_sample"])) == {"val"}
        path.write_bytes(whole)
        assert job.execute_in_process(instance=instance, run_config=quiet).success
        assert instance.get_materialized_partitions(dg.AssetKey(["imagenet64", "csv_sample"])) == {"train", "val"}

"""Missing, failed and stale partitions, as the commands count and make them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from imgassets.commit import load
from imgassets.components.npz import images
from imgassets.formats.index import Index
from tests.operations.conftest import BATCHES, SMALL, Home


def descendants(batch: str) -> set[str]:
    """Of a raw batch, of those assets that every version of the dataset has."""
    split = "val" if batch == "val_data" else "train"
    return {f"imagenet64/npz_index/{batch}", f"imagenet64/arrays/{batch}", f"imagenet64/csv_sample/{split}"}


def counts(home: Home, asset: str, code: int = 0) -> dict[str, int]:
    (found,) = home.json("status", asset, code=code)
    return {name: found[name] for name in ("current", "stale", "missing", "failed")}


def test_missing_makes_only_what_is_missing(home: Home) -> None:
    home.run("backfill", "imagenet64/npz_index", "--partitions", "train_data_batch_3..train_data_batch_5", "--json")
    assert counts(home, "imagenet64/npz_index") == {"current": 3, "stale": 0, "missing": 8, "failed": 0}
    assert home.built("imagenet64/npz_index", "--missing") == {f"imagenet64/npz_index/{b}" for b in BATCHES} - {
        f"imagenet64/npz_index/train_data_batch_{i}" for i in (3, 4, 5)
    }


def test_failed_makes_only_what_failed(home: Home) -> None:
    good = (home.raw / "val_data.npz").read_bytes()
    (home.raw / "val_data.npz").write_bytes(good[:-100])
    outcome = home.json("backfill", "imagenet64/npz_index", code=1)[0]
    assert list(outcome["failed"]) == ["val_data"]
    assert "val_data.npz" in outcome["failed"]["val_data"]
    assert counts(home, "imagenet64/npz_index", code=1) == {"current": 10, "stale": 0, "missing": 1, "failed": 1}
    (home.raw / "val_data.npz").write_bytes(good)
    assert home.built("imagenet64/npz_index", "--failed") == {"imagenet64/npz_index/val_data"}
    assert counts(home, "imagenet64/npz_index") == {"current": 11, "stale": 0, "missing": 0, "failed": 0}
    assert home.built("imagenet64/npz_index", "--failed") == set()


def test_an_unchanged_rerun_runs_and_writes_nothing(made: Home) -> None:
    before = made.tree()
    assert made.built("+imagenet64/csv_sample") == set()
    assert made.tree() == before


def test_force_makes_everything_again(made: Home) -> None:
    assert len(made.built("imagenet64/arrays", "--force")) == 11


def check_edits(made: Home, edits: int) -> None:
    rng = random.Random(0)
    for edit in range(edits):
        batch = rng.choice(BATCHES)
        made.write(batch, seed=1000 + edit)
        expected = descendants(batch)
        planned = made.json("plan", "+imagenet64/csv_sample", *SMALL)["partitions"]
        assert {f"{s['asset']}/{s['partition']}" for s in planned if s["verdict"] == "unread"} == expected
        assert made.built("+imagenet64/csv_sample", "--stale") == expected
        assert made.built("+imagenet64/csv_sample") == set()


@pytest.mark.slow
def test_100_edits_redo_exactly_their_descendants(made: Home) -> None:
    check_edits(made, 100)


def test_status_for_people(made: Home) -> None:
    made.write(BATCHES[0], seed=99)
    text = made.run("status", "imagenet64/npz_index").output
    assert "asset" in text.splitlines()[0]
    assert f"imagenet64/npz_index/{BATCHES[0]}: imagenet64/{BATCHES[0]}.npz was copied, moved or touched" in text
    assert "imagenet64/npz_index: 1 unknown, " in text


def test_an_unknown_selection_is_one_line(home: Home) -> None:
    result = home.run("status", "imagenet64/nothing", code=2)
    assert result.output.startswith("Error: 'imagenet64/nothing' selects nothing")
    home.run("backfill", code=2)


def test_an_error_that_is_none_of_ours_is_told_by_its_cause(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a mistake of ours")

    monkeypatch.setattr("imgassets.components.npz.images._index", broken)
    (outcome,) = home.json("backfill", "imagenet64/npz_index", "--partitions", "val_data", code=1)
    assert outcome["failed"] == {"val_data": "ValueError: a mistake of ours"}


def test_an_index_that_gains_a_column_makes_nothing_stale(made: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    make = images._index

    def with_another(*arguments: Any) -> Index:
        found = make(*arguments)
        return replace(found, table=found.table.append_column("more", found.table["row"]))

    monkeypatch.setattr(images, "_index", with_another)
    before = (made.store / "npz_index" / "val_data" / "index.parquet").read_bytes()
    made.run("backfill", "imagenet64/npz_index", "--force", "--json")
    assert (made.store / "npz_index" / "val_data" / "index.parquet").read_bytes() != before
    assert counts(made, "imagenet64/arrays") == {"current": 11, "stale": 0, "missing": 0, "failed": 0}
    assert made.built("imagenet64/arrays") == set()
    assert made.json("trace", "imagenet64/arrays/val_data")[1]["changed"] is False


def test_an_index_that_says_something_else_makes_its_readers_stale(made: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    make = images._index

    def with_other_classes(*arguments: Any) -> Index:
        found = make(*arguments)
        place = found.table.column_names.index("class_id")
        return replace(found, table=found.table.set_column(place, "class_id", found.table["devkit_label"]))

    monkeypatch.setattr(images, "_index", with_other_classes)
    made.run("backfill", "imagenet64/npz_index", "--partitions", "val_data..val_data", "--force", "--json")
    assert counts(made, "imagenet64/arrays") == {"current": 10, "stale": 1, "missing": 0, "failed": 0}
    assert made.json("trace", "imagenet64/arrays/val_data", code=1)[1]["changed"] is True


def test_a_setting_at_its_default_is_not_in_the_recipe(made: Home) -> None:
    manifest = load(made.store / "csv_sample" / "val" / ".imgassets.json")
    assert manifest.recipe.config == {"csv_size_gb": 0.001}
    assert manifest.settings == {"csv_size_gb": 0.001, "seed": 0, "binary_block": False}
    assert counts(made, "imagenet64/csv_sample")["stale"] == 0

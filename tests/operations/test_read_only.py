"""Looking at a vault takes no lock and no permission to write: it may be mounted read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgassets import convert, open_store
from imgassets.testing.making import folder
from tests.commit.test_two_writers import bound
from tests.operations.conftest import SMALL, Home, clear


@pytest.fixture
def mounted(made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The vault of `made`, where nobody can write to it."""
    with bound(made.path / "store", tmp_path / "read-only"):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path / "read-only")], check=True)
        monkeypatch.setenv("IMGASSETS_STORE", str(tmp_path / "read-only"))
        clear()
        yield tmp_path / "read-only"
        clear()


def test_whoever_only_looks_needs_no_more(made: Home, mounted: Path) -> None:
    stage = made.store / "arrays" / ".val_data.stage"
    stage.mkdir()
    (stage / "journal").write_text('"0123456789abcdef0123456789abcdef"')
    before = made.tree()
    (counts,) = made.json("status", "imagenet64/arrays")
    assert counts["current"] == 11
    assert made.json("plan", "imagenet64/arrays")["totals"]["build"] == 0
    assert made.json("verify", "imagenet64/arrays", "--checksums-only")["findings"] == []
    made.run("trace", "imagenet64/arrays/val_data", "2")
    assert [Path(item["path"]).name for item in made.json("gc", "--dry-run")] == [".val_data.stage"]
    assert {name: times for name, times in made.tree().items() if name.startswith("store")} == {
        name: times for name, times in before.items() if name.startswith("store")
    }


def test_an_unchanged_backfill_runs_on_it(made: Home, mounted: Path) -> None:
    assert made.built("+imagenet64/csv_sample") == set()
    (outcome,) = made.json("backfill", "imagenet64/csv_sample", *SMALL, "--force", "--partitions", "val", code=1)
    assert "Read-only file system" in outcome["failed"]["val"]


def test_a_store_of_images_opens_on_it(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    convert(folder(tmp_path / "data"), tmp_path / "store" / "x")
    with bound(tmp_path / "store", tmp_path / "read-only"):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path / "read-only")], check=True)
        store = open_store(tmp_path / "read-only" / "x")
        assert store[len(store) - 1]
        store.verify()

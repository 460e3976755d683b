"""What recipes name of an index: columns and facts, by checksums that an index of an earlier version has, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa  # noqa: TID253  (a test of what is written with it)
import pytest

from imgassets.commit import Manifest, Recipe, Vault
from imgassets.errors import StoreError
from imgassets.formats.index import Index, IndexReader, write_index
from imgassets.io.excerpts import excerpt, still_says

NAMES = ["a", "b", "c"]


def index(folder: Path, columns: dict[str, Any], **facts: Any) -> tuple[Manifest, IndexReader]:
    vault = Vault(folder / "store", folder / "state")
    location = vault.location("demo", "index", "all", folder=True)
    recipe = Recipe("demo/index", "all", {}, {}, "index/1", "1")
    content = Index(pa.table(columns), {}, facts)
    manifest = vault.commit(location, recipe, lambda stage: write_index(content, stage)).manifest
    return manifest, IndexReader(location.path)


def never() -> IndexReader:
    raise AssertionError("an index that has checksums of its columns need not be read")


def test_another_column_changes_nothing_for_who_does_not_read_it(tmp_path: Path) -> None:
    before, _ = index(tmp_path / "before", {"name": NAMES, "size": [1, 2, 3]})
    after, _ = index(tmp_path / "after", {"name": NAMES, "size": [1, 2, 4], "more": [0, 0, 0]})
    assert before.checksum != after.checksum
    assert excerpt(before, never, ["name"]) == excerpt(after, never, ["name"])
    assert excerpt(before, never, ["name", "size"]) != excerpt(after, never, ["size", "name"])
    assert still_says(after, never, excerpt(before, never, ["name"]))
    assert not still_says(after, never, excerpt(before, never, ["name", "size"]))
    assert not still_says(after, never, before.checksum)
    assert still_says(after, never, after.checksum)


def test_facts_count_if_they_are_read(tmp_path: Path) -> None:
    before, _ = index(tmp_path / "before", {"name": NAMES}, revision="1", seen=1)
    after, _ = index(tmp_path / "after", {"name": NAMES}, revision="2", seen=2)
    assert excerpt(before, never, ["name"]) == excerpt(after, never, ["name"])
    assert excerpt(before, never, ["name"], ["revision"]) != excerpt(after, never, ["name"], ["revision"])


def test_an_index_without_checksums_of_columns_is_read_for_them(tmp_path: Path) -> None:
    manifest, reader = index(tmp_path, {"name": NAMES, "size": [1, 2, 3]})
    facts = {name: value for name, value in manifest.facts.items() if name != "columns"}
    earlier = Manifest(manifest.recipe, manifest.files, facts)
    found = excerpt(earlier, lambda: reader, ["size"])
    assert found == excerpt(manifest, never, ["size"])
    assert found.whole == manifest.checksum
    with pytest.raises(StoreError, match="weight"):
        excerpt(earlier, lambda: reader, ["weight"])


def test_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    manifest, _ = index(tmp_path, {"name": NAMES})
    with pytest.raises(StoreError, match="demo/index/all has no 'size': materialize it again"):
        excerpt(manifest, never, ["name", "size"])

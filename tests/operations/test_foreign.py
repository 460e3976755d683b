"""`gc` and `view` touch what is recorded as theirs, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from imgassets.ownership import owner_of
from imgassets.projects import BUNDLED as PROJECT
from tests.operations.conftest import Home, clear, enter


@pytest.fixture
def cats(made: Home) -> Path:
    """Finished partitions of a dataset that is not declared here, and a stage beside them."""
    folder = made.path / "store" / "cats"
    shutil.copytree(made.store / "arrays" / "val_data", folder / "arrays" / "all")
    manifest = folder / "arrays" / "all" / ".imgassets.json"
    document = json.loads(manifest.read_text())
    document["recipe"] |= {"artifact": "cats/arrays", "partition": "all"}
    sign(document)
    manifest.write_text(json.dumps(document))
    stage(folder / "arrays" / ".all.stage")
    return folder


def stage(folder: Path) -> None:
    (folder / "files").mkdir(parents=True)
    (folder / "journal").write_text(json.dumps("0123456789abcdef" * 2))


def sign(document: dict[str, object]) -> None:
    from imgassets.commit import Recipe

    del document["checksum"]
    document["fingerprint"] = Recipe(**document["recipe"]).fingerprint  # type: ignore[arg-type]


def record(home: Home, owner: str | None) -> None:
    path = home.path / "store" / ".imgassets" / "owners" / "cats.json"
    path.unlink(missing_ok=True)
    if owner:
        path.write_text(json.dumps({"owner": owner}))


def mine(home: Home) -> str:
    return owner_of(PROJECT, home.path / "imgassets", "cats").id


@pytest.mark.parametrize("owner", [None, "somebody else", "imgassets"])
def test_gc_leaves_the_artifacts_and_stages_of_others(made: Home, cats: Path, owner: str | None) -> None:
    assert mine(made) != owner
    record(made, owner)
    before = made.tree()
    result = made.run("gc", "--yes")
    assert result.stdout == "0 things, 0 B\n"
    assert "2 of others, or of nobody who is known, left: cats/arrays/.all.stage, cats/arrays/all" in result.stderr
    assert made.json("gc", "--yes") == []
    assert made.tree() == before


def test_gc_removes_what_is_its_own_and_then_the_record(made: Home, cats: Path) -> None:
    record(made, mine(made))
    foreign = cats / "arrays" / ".photos.stage"
    foreign.mkdir()
    (foreign / "journal").write_text("my diary")
    gone = made.json("gc", "--yes")
    assert {Path(item["path"]).name for item in gone if item["removed"]} == {"all", ".all.stage"}
    assert (foreign / "journal").read_text() == "my diary"
    assert "1 of others, or of nobody who is known, left: cats/arrays/.photos.stage" in made.run("gc", "--yes").stderr
    shutil.rmtree(foreign)
    assert (made.path / "store/.imgassets/owners/cats.json").exists()
    stage(cats / "arrays" / ".all.stage")
    made.run("gc", "--yes")
    assert not cats.exists()
    assert not (made.path / "store/.imgassets/owners/cats.json").exists()
    assert (made.path / "store/.imgassets/owners/imagenet64.json").exists()


def test_a_stage_s_name_alone_makes_no_stage(made: Home) -> None:
    foreign = made.path / "store" / ".foo.stage"
    foreign.mkdir()
    (foreign / "files").write_text("mine")
    beside = made.store / "arrays" / ".bar.stage"
    beside.mkdir()
    result = made.run("gc", "--yes")
    assert "left: .foo.stage, imagenet64/arrays/.bar.stage" in result.stderr
    assert foreign.exists()
    assert beside.exists()


def test_another_home_is_another_owner(made: Home, cats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(made, mine(made))
    other = Home(tmp_path / "other")
    other.path.mkdir()
    shutil.copy(made.path / "dagster.yaml", other.path)
    enter(other, monkeypatch)
    monkeypatch.setenv("IMGASSETS_STORE", str(made.path / "store"))
    monkeypatch.setenv("IMGASSETS_RAW", str(made.path / "raw"))
    clear()
    assert other.json("gc", "--yes") == []
    assert (cats / "arrays" / "all").exists()


def links(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): os.readlink(p) for p in folder.rglob("*") if p.is_symlink()}


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """Somebody's folder, with links to a disk that is not mounted just now."""
    folder = tmp_path / "papers"
    (folder / "sub").mkdir(parents=True)
    (folder / "note.txt").write_text("mine")
    (folder / "thesis.tex").symlink_to("/nowhere/mounted/thesis.tex")
    (folder / "sub" / "photos").symlink_to("/nowhere/mounted/photos")
    (folder / "mine.txt").symlink_to("note.txt")
    (folder / ".imagenet_val_0.001GB.csv.link").write_text("mine too")
    return folder


def test_view_keeps_the_links_of_others(made: Home, papers: Path) -> None:
    before = links(papers)
    made.run("view", "imagenet64/csv_sample", str(papers))
    after = links(papers)
    assert before.items() <= after.items()
    assert len(after) > len(before)
    assert (papers / ".imagenet_val_0.001GB.csv.link").read_text() == "mine too"
    made.run("view", "imagenet64/csv_sample", str(papers))
    assert links(papers) == after
    shutil.rmtree(made.store / "csv_sample" / "val")
    made.run("view", "imagenet64/csv_sample", str(papers))
    gone = set(after) - set(links(papers))
    assert gone
    assert all("val" in name for name in gone)
    assert before.items() <= links(papers).items()


@pytest.mark.parametrize("how", ["another link", "a dangling link", "a file", "a folder", "a file for a folder"])
def test_view_refuses_what_is_in_the_way_before_it_changes_anything(made: Home, papers: Path, how: str) -> None:
    way = papers / "val_data" / "images.npy"
    if how == "a file for a folder":
        way = papers / "val_data"
    way.parent.mkdir(exist_ok=True)
    match how:
        case "another link":
            way.symlink_to(papers / "note.txt")
        case "a dangling link":
            way.symlink_to("/nowhere/mounted/images.npy")
        case "a folder":
            way.mkdir()
        case _:
            way.write_text("mine")
    before = {path: path.lstat().st_mtime_ns for path in [papers, *papers.rglob("*")]}
    result = made.run("view", "imagenet64/arrays", str(papers), code=1)
    assert f"{way} is " in result.output
    assert {path: path.lstat().st_mtime_ns for path in [papers, *papers.rglob("*")]} == before


def test_view_adopts_links_that_an_earlier_version_made(made: Home, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    made.run("view", "imagenet64/arrays", str(folder))
    before = links(folder)
    (folder / ".imgassets" / "links.json").unlink()
    made.run("view", "imagenet64/arrays", str(folder))
    assert links(folder) == before
    shutil.rmtree(made.store / "arrays" / "val_data")
    made.run("view", "imagenet64/arrays", str(folder))
    assert set(before) - set(links(folder)) == {"val_data/images.npy", "val_data/labels.npy"}


def test_view_replaces_its_own_links_when_the_store_moves(made: Home, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    made.run("view", "imagenet64/arrays", str(folder))
    os.rename(made.path / "store", made.path / "elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGASSETS_STORE", str(made.path / "elsewhere"))
        clear()
        made.run("view", "imagenet64/arrays", str(folder))
    assert all("/elsewhere/" in target for target in links(folder).values())


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"links": []}', '{"links": {"../x": "y"}}'])
def test_a_damaged_record_is_said(made: Home, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "seen"
    (folder / ".imgassets").mkdir(parents=True)
    (folder / ".imgassets" / "links.json").write_text(text)
    assert "links.json is damaged" in made.run("view", "imagenet64/arrays", str(folder), code=1).output

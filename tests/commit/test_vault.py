"""Whole or not at all, proven unchanged, one writer: what `Vault.commit` promises."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgassets.commit import Location, Recipe, Stage, Vault, Written
from imgassets.commit.manifest import load
from imgassets.errors import BadInput, MissingUpstream, StoreError


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "store", tmp_path / "state")


def recipe(**config: object) -> Recipe:
    return Recipe("demo/numbers", "one", {"raw.bin": "0" * 32}, config, "raw/1", "1")


def writer(*texts: str, name: str = "part-{}.txt") -> Callable[[Stage], Written]:
    def write(stage: Stage) -> Written:
        for i, text in enumerate(texts):
            with stage.create(name.format(i)) as sink:
                sink.write(text.encode())
        return Written({"rows": len(texts)})

    return write


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every path below `root` with its time and content: what "nothing was touched" is judged by."""
    return {
        str(p.relative_to(root)): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"")
        for p in sorted(root.rglob("*"))
    }


def folder(vault: Vault) -> Location:
    return vault.location("demo", "numbers", "one", folder=True)


def test_a_folder_is_published_with_a_manifest_that_describes_it(vault: Vault) -> None:
    commit = vault.commit(folder(vault), recipe(), writer("a", "bc"))
    assert commit.fresh
    assert sorted(p.name for p in commit.location.path.iterdir()) == [".imgassets.json", "part-0.txt", "part-1.txt"]
    document = json.loads(commit.location.manifest.read_bytes())
    assert [(f["name"], f["bytes"]) for f in document["files"]] == [("part-0.txt", 1), ("part-1.txt", 2)]
    assert document["facts"] == {"rows": 2}
    assert vault.verify(commit.location) == commit.manifest
    assert not commit.location.stage.exists()


def test_a_file_lies_under_its_own_name_and_its_manifest_is_out_of_the_way(vault: Vault) -> None:
    location = vault.location("demo", "shards", "x.tar", folder=False)
    for text in ("old", "new!"):
        vault.commit(location, recipe(v=text), writer(text, name="x.tar"))
        assert location.path.read_text() == text
        assert location.manifest == location.path.parent / ".imgassets" / "x.tar.json"
        vault.verify(location)
    assert sorted(p.name for p in location.path.parent.iterdir()) == [".imgassets", "x.tar"]


def test_an_unchanged_rerun_touches_nothing(vault: Vault) -> None:
    vault.commit(folder(vault), recipe(), writer("a", "b"))
    before = tree(vault.root)

    def fail(stage: Stage) -> Written:
        raise AssertionError("the writer was called")

    assert not vault.commit(folder(vault), recipe(), fail).fresh
    assert tree(vault.root) == before


@pytest.mark.parametrize("damage", ["bytes", "size", "missing", "manifest", "no manifest"])
def test_done_means_proven(vault: Vault, damage: str) -> None:
    location = vault.commit(folder(vault), recipe(), writer("abc", "def")).location
    victim = location.path / "part-1.txt"
    match damage:
        case "bytes":
            victim.write_text("dex")
        case "size":
            victim.write_text("de")
        case "missing":
            victim.unlink()
        case "manifest":
            location.manifest.write_text("{}")
        case "no manifest":
            location.manifest.unlink()
    with pytest.raises((StoreError, MissingUpstream)):
        vault.verify(location)
    commit = vault.commit(location, recipe(), writer("abc", "def"))
    assert commit.fresh
    assert victim.read_text() == "def"


def test_any_bit_flipped_in_a_manifest_is_found(vault: Vault) -> None:
    path = vault.commit(folder(vault), recipe(), writer("abc", "def")).location.manifest
    raw, good = path.read_bytes(), load(path)
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert load(path) == good  # white space, or the case of an escape
        except StoreError:
            continue


def test_a_manifest_without_a_checksum_is_one_too(vault: Vault) -> None:
    path = vault.commit(folder(vault), recipe(), writer("abc", "def")).location.manifest
    good, document = load(path), json.loads(path.read_text())
    del document["checksum"]
    path.write_text(json.dumps(document))
    assert load(path) == good
    assert not vault.commit(folder(vault), recipe(), writer("abc", "def")).fresh


def test_force_and_a_changed_recipe_rebuild(vault: Vault) -> None:
    vault.commit(folder(vault), recipe(size=1), writer("a"))
    assert vault.commit(folder(vault), recipe(size=1), writer("a"), force=True).fresh
    assert vault.commit(folder(vault), recipe(size=2), writer("a", "b")).fresh
    assert len(list(folder(vault).path.glob("part-*"))) == 2


def test_a_handled_error_leaves_nothing_new(vault: Vault) -> None:
    def write(stage: Stage) -> Written:
        with stage.create("sub/a.txt") as sink:
            sink.write(b"a")
        raise BadInput("no.npz is bad.")

    vault.root.mkdir()
    with pytest.raises(BadInput):
        vault.commit(folder(vault), recipe(), write)
    assert list(vault.root.iterdir()) == []
    vault.commit(folder(vault), recipe(), writer("old"))
    before = tree(vault.root)
    with pytest.raises(BadInput):
        vault.commit(folder(vault), recipe(v=2), write)
    assert {k: v[1] for k, v in tree(vault.root).items()} == {k: v[1] for k, v in before.items()}


def test_a_killed_attempt_is_taken_up_where_it_stopped(vault: Vault) -> None:
    def killed() -> None:
        def write(stage: Stage) -> Written:
            for i in range(2):
                with stage.create(f"part-{i}.txt") as sink:
                    sink.write(b"x" * 10)
            with stage.create("part-2.txt") as sink:
                sink.write(b"y" * 1_000_000)
                os._exit(9)

        vault.commit(folder(vault), recipe(), write)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == 9
    with pytest.raises(MissingUpstream):
        vault.manifest(folder(vault))
    (folder(vault).stage / "files" / "part-1.txt").write_bytes(b"x" * 9 + b"!")  # the disk lied
    written = []

    def write(stage: Stage) -> Written:
        for i in range(3):
            if not stage.finished(f"part-{i}.txt"):
                with stage.create(f"part-{i}.txt") as sink:
                    sink.write(b"x" * 10)
                written.append(i)
        return Written()

    vault.commit(folder(vault), recipe(), write)
    assert written == [1, 2]
    vault.verify(folder(vault))
    assert sorted(p.name for p in folder(vault).path.parent.iterdir()) == ["one"]


def test_a_second_writer_is_told_who_the_first_one_is(vault: Vault) -> None:
    def write(stage: Stage) -> Written:
        with pytest.raises(StoreError, match=f"being written by process {os.getpid()} on"):
            vault.commit(folder(vault), recipe(), writer("b"))
        return writer("a")(stage)

    assert vault.commit(folder(vault), recipe(), write).fresh


def test_too_little_space_is_said_beforehand(vault: Vault) -> None:
    def write(stage: Stage) -> Written:
        stage.need(1 << 60)
        raise AssertionError

    with pytest.raises(StoreError, match=r"needs 1073741824\.0 GiB, .* free at"):
        vault.commit(folder(vault), recipe(), write)


@pytest.mark.parametrize("part", ["..", ".", "", "a/b", "../x", "/etc", ".hidden", "a\0b", "a\nb", "x" * 201, "a\\b"])
def test_no_partition_key_leaves_the_root(vault: Vault, part: str) -> None:
    with pytest.raises(BadInput):
        vault.location("demo", part, folder=True)


@pytest.mark.parametrize("part", ["train-00000-of-01024", "año", "日本", "a b", "x|y:*?", "-dash", "con", "100%"])
def test_unusual_but_safe_names_work(vault: Vault, part: str) -> None:
    location = vault.location("demo", part, folder=True)
    vault.commit(location, recipe(), writer("a"))
    assert (location.path / "part-0.txt").read_text() == "a"


def test_files_cannot_leave_the_artifact(vault: Vault) -> None:
    with pytest.raises(BadInput):
        vault.commit(folder(vault), recipe(), writer("a", name="../{}"))


def test_a_sink_that_failed_leaves_no_file_and_its_name_free(vault: Vault) -> None:
    def fail(stage: Stage, name: str) -> None:
        with stage.create(name) as sink:
            sink.write(b"x")
            raise BadInput("sample 7 is bad.")

    def fail_scattered(stage: Stage, name: str) -> None:
        with stage.scatter(name) as sink:
            sink.put(b"x", 1)
            raise BadInput("sample 7 is bad.")

    def write(stage: Stage) -> Written:
        for attempt in (fail, fail_scattered):
            for name in ("part-0.txt", "bad.txt"):
                with pytest.raises(BadInput):
                    attempt(stage, name)
        return writer("good")(stage)

    location = vault.commit(folder(vault), recipe(), write).location
    assert sorted(path.name for path in location.path.iterdir()) == [".imgassets.json", "part-0.txt"]


def test_what_was_not_recorded_is_not_published(vault: Vault) -> None:
    def write(stage: Stage) -> Written:
        with stage.create("sub/a.txt") as sink:
            sink.write(b"a")
        beside = stage.location.stage / "files" / "sub"
        (beside / "a.txt.tmp").write_text("forgotten")
        (beside / "cache").mkdir()
        (beside / "link").symlink_to("/")
        return Written()

    location = vault.commit(folder(vault), recipe(), write).location
    assert {str(p.relative_to(location.path)) for p in location.path.rglob("*")} == {
        ".imgassets.json",
        "sub",
        "sub/a.txt",
    }


def test_an_empty_array_is_no_bytes(vault: Vault) -> None:
    def write(stage: Stage) -> Written:
        with stage.create("none.bin") as sink:
            assert sink.write(np.empty((0, 3))) == 0
        return Written()

    assert (vault.commit(folder(vault), recipe(), write).location.path / "none.bin").read_bytes() == b""


def test_a_stage_that_cannot_be_emptied_is_not_built_upon(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale file of another attempt would be published beside the new ones."""
    stale = folder(vault).stage / "files" / "stale.txt"
    stale.parent.mkdir(parents=True)
    stale.write_text("stale")
    real = os.unlink

    def unlink(path: object, *, dir_fd: int | None = None) -> None:
        if str(path).endswith("stale.txt"):
            raise OSError(5, "Input/output error", str(path))
        real(path, dir_fd=dir_fd)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        with pytest.raises(StoreError, match="Input/output error"):
            vault.commit(folder(vault), recipe(), writer("a"))
    assert vault.commit(folder(vault), recipe(), writer("a")).fresh
    assert sorted(path.name for path in folder(vault).path.iterdir()) == [".imgassets.json", "part-0.txt"]


def test_a_file_that_was_swapped_before_its_manifest_is_the_new_version(vault: Vault) -> None:
    """A kill between the two names of a file: readers and the next run know whose manifest counts."""
    location = vault.location("demo", "shards", "x.tar", folder=False)
    vault.commit(location, recipe(v=1), writer("old", name="x.tar"))
    old = location.manifest.read_bytes()
    vault.commit(location, recipe(v=2), writer("new", name="x.tar"))
    location.staged_manifest.parent.mkdir()
    location.manifest.rename(location.staged_manifest)
    location.manifest.write_bytes(old)
    assert vault.manifest(location).recipe == vault.verify(location).recipe == recipe(v=2)
    assert not vault.commit(location, recipe(v=2), writer("never", name="x.tar")).fresh
    assert not location.stage.exists()
    assert json.loads(location.manifest.read_bytes())["recipe"]["config"] == {"v": 2}

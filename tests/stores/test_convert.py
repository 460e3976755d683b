"""Conversion by one process and by many: the same bytes, whoever dies."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from imgassets.errors import BadInput
from imgassets.stores import convert as conversion
from imgassets.stores import open_store, writing
from imgassets.stores.convert import convert
from imgassets.testing.making import arrays, dense, encoded, folder, picture


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def tree(path: Path | None) -> dict[str, bytes]:
    assert path is not None
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("settings", [{"format": "tar"}, {"format": "hdf5", "size": (9, 7)}, {"format": "parquet"}])
@pytest.mark.parametrize("world", [2, 3, 11])
def test_many_ranks_write_what_one_writes(tmp_path: Path, settings: dict[str, Any], world: int) -> None:
    root = folder(tmp_path / "data")
    settings["images_per_file"] = 5
    alone = convert(root, tmp_path / "alone" / "x", **settings)
    ranks = [*range(1, world), 0]
    for rank in ranks[:-1]:
        assert convert(root, tmp_path / "many" / "x", rank=rank, world_size=world, **settings) is None
    assert not (tmp_path / "many" / "x").exists()
    together = convert(root, tmp_path / "many" / "x", rank=0, world_size=world, **settings)
    assert tree(together) == tree(alone)
    assert [p.name for p in (tmp_path / "many").iterdir()] == ["x"]
    open_store(tmp_path / "many" / "x").verify()


def test_processes_at_once(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    alone = convert(root, tmp_path / "alone" / "x", format="ipc", images_per_file=2)

    def work(rank: int) -> None:
        convert(root, tmp_path / "many" / "x", format="ipc", images_per_file=2, rank=rank, world_size=4, wait=60)

    processes = [multiprocessing.get_context("fork").Process(target=work, args=(rank,)) for rank in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert tree(tmp_path / "many" / "x") == tree(alone)


def test_a_dead_rank_s_shards_are_made_alone(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    settings: dict[str, Any] = {"format": "memmap", "images_per_file": 3, "size": (8, 8)}
    alone = convert(root, tmp_path / "alone" / "x", **settings)
    convert(root, tmp_path / "many" / "x", rank=0, world_size=2, **settings)
    parts = tmp_path / "many" / ".x.parts"
    before = {p: p.stat().st_mtime_ns for p in parts.rglob("shard-*.npy")}
    assert before
    # rank 1 never came back; somebody finishes its work alone
    assert tree(convert(root, tmp_path / "many" / "x", rank=0, world_size=1, **settings)) == tree(alone)
    inherited = {p.stat().st_mtime_ns for p in (tmp_path / "many" / "x").glob("*.npy")}
    assert set(before.values()) <= inherited


def test_another_conversion_replaces_the_first(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    first = convert(root, tmp_path / "x", size=(8, 8))
    assert first is not None
    inode = os.stat(first / "store.json").st_ino
    convert(root, tmp_path / "x", size=(8, 8))
    assert os.stat(first / "store.json").st_ino == inode
    convert(root, tmp_path / "x", size=(9, 9))
    assert open_store(tmp_path / "x").fields[0].shape == (9, 9, 3)


def test_damaged_images_are_counted_and_some_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "LISTED", 2)
    root = folder(tmp_path / "in")
    sound = convert(root, tmp_path / "sound", images_per_file=7)
    assert b"damaged" not in b"".join(tree(sound)[f"{name}.json"] for name in ("store", "shard-000000"))
    for k in range(4):
        path = root / "class1" / f"img{k}.jpg" if k != 3 else root / "class2" / "img0.jpg"
        path.write_bytes(path.read_bytes()[:-60] + b"\xff\xd9")
    made = convert(root, tmp_path / "damaged", images_per_file=7)
    assert made is not None
    store = open_store(made)
    assert store.notes["damaged"] == 4
    assert [sample["name"] for sample in store.damaged] == ["class1/img0.jpg", "class1/img1.jpg", "class2/img0.jpg"]
    assert all(store.name(sample["index"]) == sample["name"] for sample in store.damaged)
    assert {sample["reason"] for sample in store.damaged} == {"Corrupt JPEG data: premature end of data segment"}


def test_bytes_of_a_dataset_get_the_size_that_was_asked_for(tmp_path: Path) -> None:
    items = [(encoded(picture(k, 20, 30)), k) for k in range(3)]
    store = open_store(convert(items, tmp_path / "out", size=(5, 6)))
    assert store[0][0].shape == (3, 5, 6)


def test_labels_and_sources(tmp_path: Path) -> None:
    images, labels = dense(tmp_path / "d")
    convert(images, tmp_path / "x", labels=labels, format="ipc", size=(8, 8))
    assert open_store(tmp_path / "x")[0][1].shape == (8, 8)
    convert(arrays(10), tmp_path / "y")
    assert len(open_store(tmp_path / "y")) == 10


def test_wrong_rank(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="rank 3"):
        convert(folder(tmp_path / "d"), tmp_path / "x", rank=3, world_size=3)


def test_a_store_whose_recipe_names_every_setting_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "data")
    with monkeypatch.context() as earlier:
        earlier.setattr(conversion, "DEFAULTS", {})
        first = convert(root, tmp_path / "x", images_per_file=5)
    assert first is not None
    before = tree(first)
    assert b'"on_error": "fail"' in before[".imgassets.json"]
    convert(root, tmp_path / "x", images_per_file=5)
    assert tree(first) == before
    convert(root, tmp_path / "x", images_per_file=5, on_error="skip")
    assert tree(first) != before

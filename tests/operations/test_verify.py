"""Verify finds every damage, repair mends exactly that, gc removes what serves nobody and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.operations.gc import reachable
from tests.operations.conftest import Home, clear, enter


def flip(path: Path) -> None:
    """Change one bit as a failing disk does: neither size nor time tell."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_repair_makes_exactly_what_was_found_and_the_same_bytes(made: Home) -> None:
    assert made.json("verify", "+imagenet64/csv_sample")["findings"] == []
    before = made.content()
    rng = random.Random(1)
    files = [path for path in made.store.rglob("*") if path.is_file() and path.suffix in {".npy", ".csv", ".parquet"}]
    hit = [path for path in rng.sample(files, 6) if path.stat().st_size]
    for path in hit:
        flip(path)
    gone = made.store / "arrays" / "val_data"
    for path in gone.iterdir():
        path.unlink()
    gone.rmdir()
    expected = {str(path.parent.relative_to(made.path / "store")) for path in hit} | {"imagenet64/arrays/val_data"}
    found = made.json("verify", "group:imagenet64", "--checksums-only", code=1)["findings"]
    assert {f"{finding['asset']}/{finding['partition']}" for finding in found} == expected
    repaired = made.json("repair")
    assert {f"{outcome['asset']}/{key}" for outcome in repaired for key in outcome["built"]} == expected
    assert made.content() == before
    assert made.json("verify", "group:imagenet64", "--checksums-only")["findings"] == []
    assert "Nothing to repair" in made.run("repair").output


def test_repair_leaves_what_is_whole_by_now(made: Home) -> None:
    path = made.store / "arrays" / "val_data" / "images.npy"
    flip(path)
    made.run("verify", "imagenet64/arrays", "--checksums-only", code=1)
    flip(path)
    assert "is whole by now" in made.run("repair").output


def test_verify_runs_the_checks(made: Home) -> None:
    # a manifest that fits wrong bytes, as a bug of a writer would leave it
    labels = made.store / "arrays" / "val_data" / "labels.npy"
    import numpy as np

    from imgassets.commit import xxh3_128

    values = np.load(labels, allow_pickle=False)
    values[0] = 1000
    np.save(labels, values, allow_pickle=False)
    manifest = made.store / "arrays" / "val_data" / ".imgassets.json"
    document = json.loads(manifest.read_text())
    for record in document["files"]:
        if record["name"] == "labels.npy":
            record["xxh3_128"] = xxh3_128(labels)
    del document["checksum"]
    manifest.write_text(json.dumps(document))
    (finding,) = made.json("verify", "imagenet64/arrays", code=1)["findings"]
    assert (finding["partition"], finding["kind"]) == ("val_data", "labels_in_range")


def test_a_check_of_all_partitions_is_run_once(sampled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sampled.json("verify", "ilsvrc2012/tfrecords")["findings"] == []
    home = Home(tmp_path / "home")
    shutil.copytree(sampled.path, home.path, symlinks=True)
    enter(home, monkeypatch)
    manifest = home.path / "store" / "ilsvrc2012" / "tfrecords" / ".imgassets" / "train-00002-of-00007.json"
    document = json.loads(manifest.read_text())
    document["facts"]["names"] = "0" * 32
    del document["checksum"]
    manifest.write_text(json.dumps(document))
    found = home.json("verify", "ilsvrc2012/tfrecords", code=1)["findings"]
    assert [(one["partition"], one["kind"]) for one in found] == [
        ("train-00002-of-00007", "records_sound"),
        ("*", "every_image_once"),
    ]
    assert "train-00002-of-00007" in found[1]["problem"]
    clear()


@pytest.mark.parametrize("linked", [False, True])
def test_gc_removes_what_nobody_declares(made: Home, linked: bool) -> None:
    before = made.content()
    old = made.store / "arrays" / "train_data_batch_11"
    old.mkdir()
    for path in (made.store / "arrays" / "val_data").iterdir():
        document = path.read_bytes()
        (old / path.name).write_bytes(document)
    manifest = json.loads((old / ".imgassets.json").read_text())
    _rename(manifest, "train_data_batch_11")
    (old / ".imgassets.json").write_text(json.dumps(manifest))
    if linked:  # as where names cannot be exchanged
        old.rename(old.with_name(".train_data_batch_11.0"))
        old.symlink_to(".train_data_batch_11.0")
    stage = made.store / "arrays" / ".val_data.stage"
    (stage / "files").mkdir(parents=True)
    (stage / "files" / "images.npy").write_bytes(b"x" * 1000)
    (stage / "journal").write_text(json.dumps("0" * 32))
    foreign = made.path / "store" / "notes.txt"
    foreign.write_text("mine")
    listed = made.json("gc", "--dry-run")
    assert {Path(item["path"]).name for item in listed} == {"train_data_batch_11", ".val_data.stage"}
    assert not any(item["removed"] for item in listed)
    assert old.exists()
    made.run("gc", "--json", code=2)
    assert all(item["removed"] for item in made.json("gc", "--yes"))
    assert made.content() == before
    assert foreign.read_text() == "mine"


def test_gc_keeps_what_a_declared_partition_is_made_from(made: Home) -> None:
    sample = made.store / "csv_sample" / "train" / ".imgassets.json"
    old = made.store / "arrays" / "train_data_batch_11"
    old.mkdir()
    for path in (made.store / "arrays" / "val_data").iterdir():
        (old / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((old / ".imgassets.json").read_text())
    _rename(manifest, "train_data_batch_11")
    (old / ".imgassets.json").write_text(json.dumps(manifest))
    document = json.loads(sample.read_text())
    document["recipe"]["inputs"]["imagenet64/arrays/train_data_batch_11"] = "0" * 32
    _sign(document)
    sample.write_text(json.dumps(document))
    assert made.json("gc", "--dry-run") == []


def _rename(document: dict[str, dict[str, object]], partition: str) -> None:
    document["recipe"]["partition"] = partition
    _sign(document)


def _sign(document: dict[str, object]) -> None:
    from imgassets.commit import Recipe

    del document["checksum"]
    document["fingerprint"] = Recipe(**document["recipe"]).fingerprint  # type: ignore[arg-type]


@given(st.dictionaries(st.integers(0, 30), st.sets(st.integers(0, 30))), st.sets(st.integers(0, 30)))
def test_reachable_is_the_closure(edges: dict[int, set[int]], roots: set[int]) -> None:
    inputs = {str(node): {str(other) for other in others} for node, others in edges.items()}
    closure = {str(root) for root in roots}
    while True:
        wider = closure | {other for node in closure for other in inputs.get(node, ())}
        if wider == closure:
            break
        closure = wider
    assert reachable(map(str, roots), inputs) == closure

"""The plan says what a backfill then does, to the partition and the byte, and writes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from imgassets.commit.checksum import digest_of
from imgassets.operations.plan import PROCESS, RATE
from tests.operations.conftest import BATCHES, SMALL, Home, remember

CORE = ("imagenet64/npz_index", "imagenet64/arrays", "imagenet64/csv_sample")


def core(document: list[dict[str, object]]) -> list[dict[str, object]]:
    """The partitions of the assets that every version of the dataset has."""
    return [step for step in document if step["asset"] in CORE]


def test_predicts_what_is_then_written(home: Home, made_once: Home) -> None:
    home.run("status", "imagenet64/npz_index")  # the home has its databases
    before = home.tree()
    planned = home.json("plan", "+imagenet64/csv_sample", *SMALL)
    assert home.tree() == before
    assert {(step["verdict"], step["reason"]) for step in planned["partitions"]} == {("build", "missing")}
    sizes = {}
    for step in planned["partitions"]:
        folder = made_once.path / "store" / step["asset"] / step["partition"]
        files = [path for path in folder.iterdir() if path.name != ".imgassets.json"]
        actual = sizes[folder] = sum(path.stat().st_size for path in files)
        if step["asset"] == "imagenet64/arrays":
            assert step["write"] == actual
    assert planned["totals"]["write"] == pytest.approx(sum(sizes.values()), rel=0.02)
    for step in planned["partitions"]:  # read, written, and read again by the checks
        assert step["seconds"] >= (step["read"] + 2 * step["write"]) / RATE
    assert planned["totals"]["memory"] > PROCESS


def test_nothing_to_do_or_everything(made: Home) -> None:
    again = made.json("plan", "+imagenet64/csv_sample", *SMALL)
    assert {step["verdict"] for step in again["partitions"]} == {"keep"}
    assert again["totals"]["write"] == again["totals"]["read"] == again["totals"]["peak_disk"] == 0
    forced = made.json("plan", "+imagenet64/csv_sample", "--force", *SMALL)["totals"]
    assert forced["build"] == len(again["partitions"])
    assert forced["seconds"] > 0
    assert forced["memory"] > 1e7
    # versions are replaced one after the other, so the disk needs room for the largest, not for all
    assert forced["peak_disk"] < forced["write"]


def test_follows_a_change_down(made: Home) -> None:
    made.write("train_data_batch_4", seed=99)
    planned = core(made.json("plan", "+imagenet64/csv_sample", *SMALL)["partitions"])
    unread = {f"{step['asset']}/{step['partition']}": step["reason"] for step in planned if step["verdict"] == "unread"}
    touched = "imagenet64/train_data_batch_4.npz was copied, moved or touched since it was read"
    index, arrays = (f"imagenet64/{asset}/train_data_batch_4" for asset in ("npz_index", "arrays"))
    assert unread == {
        index: touched,
        arrays: touched,
        "imagenet64/csv_sample/train": f"{arrays} is unknown until its inputs are read",
    }
    remember(made)
    planned = core(made.json("plan", "+imagenet64/csv_sample", *SMALL)["partitions"])
    building = {
        f"{step['asset']}/{step['partition']}": step["reason"] for step in planned if step["verdict"] == "build"
    }
    assert set(building) == {
        "imagenet64/npz_index/train_data_batch_4",
        "imagenet64/arrays/train_data_batch_4",
        "imagenet64/csv_sample/train",
    }
    assert building["imagenet64/npz_index/train_data_batch_4"] == "imagenet64/train_data_batch_4.npz changed"
    assert made.built("+imagenet64/csv_sample") == set(building)


def test_tells_settings_apart(made: Home) -> None:
    planned = made.json("plan", "imagenet64/csv_sample", "--set", "csv_size_gb=0.0005")
    assert {step["reason"] for step in planned["partitions"]} == {"csv_size_gb 0.001 → 0.0005"}


def test_says_what_cannot_be_made(home: Home) -> None:
    (home.raw / "val_data.npz").unlink()
    planned = home.json("plan", "+imagenet64/csv_sample", *SMALL, code=1)
    cannot = {f"{step['asset']}/{step['partition']}" for step in planned["partitions"] if step["verdict"] == "cannot"}
    assert cannot == {f"imagenet64/{asset}" for asset in ("npz_index/val_data", "arrays/val_data", "csv_sample/val")}
    text = home.run("plan", "imagenet64/npz_index", code=1).output
    assert "val_data.npz" in text
    assert f"{len(BATCHES) - 1} to build, 0 unchanged, 1 cannot be made" in text


def test_a_file_that_was_only_touched_costs_a_look(made: Home) -> None:
    (made.raw / "val_data.npz").touch()
    planned = made.json("plan", "imagenet64/npz_index")
    (step,) = [step for step in planned["partitions"] if step["verdict"] != "keep"]
    assert (step["partition"], step["verdict"], step["write"]) == ("val_data", "unread", 0)
    assert step["read"] == (made.raw / "val_data.npz").stat().st_size == planned["totals"]["read"]
    (counts,) = made.json("status", "imagenet64/npz_index")
    assert (counts["stale"], counts["unread"], counts["current"]) == (0, 1, len(BATCHES) - 1)
    assert counts["unread_bytes"] == step["read"]
    assert made.built("imagenet64/npz_index", "--stale") == set()  # its bytes are the same
    assert made.json("plan", "imagenet64/npz_index")["totals"]["build"] == 0


@pytest.mark.parametrize("moved", ["copied", "moved"])
def test_a_raw_folder_elsewhere_is_read_once_and_everything_kept(
    made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: str
) -> None:
    (shutil.copytree if moved == "copied" else shutil.move)(made.raw.parent, tmp_path / "elsewhere")
    monkeypatch.setenv("IMGASSETS_RAW", str(tmp_path / "elsewhere"))
    for one in made.json("status", "+imagenet64/csv_sample"):
        assert (one["stale"], one["missing"], one["current"], one["unread"]) == (0, 0, 0, one["partitions"])
        assert "changed" not in str(one["reasons"])
    totals = made.json("plan", "+imagenet64/csv_sample")["totals"]
    size = sum(path.stat().st_size for path in (tmp_path / "elsewhere" / "imagenet64").glob("*.npz"))
    assert (totals["build"], totals["keep"], totals["write"], totals["read"]) == (0, 0, 0, size)
    text = made.run("status", "imagenet64/npz_index").output
    assert f"imagenet64/npz_index: {len(BATCHES)} unknown, " in text
    assert made.built("+imagenet64/csv_sample") == set()
    assert all(one["current"] == one["partitions"] for one in made.json("status", "+imagenet64/csv_sample"))


def test_what_was_asked_for_before_is_named_and_kept(home: Home) -> None:
    home.run("backfill", "+imagenet64/csv_sample", *SMALL)
    (counts,) = home.json("status", "imagenet64/csv_sample")
    assert (counts["current"], counts["stale"]) == (2, 0)
    (outcome,) = home.json("backfill", "imagenet64/csv_sample", "--stale")
    assert outcome["built"] == []
    steps = home.json("plan", "imagenet64/csv_sample")["partitions"]
    assert {step["reason"] for step in steps} == {"unchanged; csv_size_gb 0.001 as asked for before"}
    reset = home.json("plan", "imagenet64/csv_sample", "--reset", "csv_size_gb")["partitions"]
    assert {step["reason"] for step in reset} == {"csv_size_gb 0.001 → 2.0"}
    assert "write it there" in home.run("plan", "*", "--reset", "size", code=2).output
    (outcome,) = home.json("backfill", "imagenet64/csv_sample", "--reset", "csv_size_gb", "--set", "csv_size_gb=0.0005")
    assert len(outcome["built"]) == 2
    reasons = {reason for one in home.json("status", "imagenet64/csv_sample") for reason in one["reasons"].values()}
    assert reasons == {"csv_size_gb 0.0005 → 2.0"}
    home.run("backfill", "imagenet64/csv_sample", "--partitions", "val", "--set", "csv_size_gb=0.001")
    sample = home.store / "csv_sample" / "val" / "imagenet_val_0.001GB.csv"
    manifest = sample.parent / ".imgassets.json"
    before = manifest.read_bytes()
    sample.write_bytes(b"")
    home.run("verify", "imagenet64/csv_sample", code=1)
    home.run("repair")
    assert manifest.read_bytes() == before


def test_a_rerun_right_after_a_build_reads_nothing_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.relative_to(home.path).as_posix())
        return digest_of(path)

    monkeypatch.setattr("imgassets.commit.checksum.digest_of", counted)
    assert len(home.built("+imagenet64/arrays")) == 2 * len(BATCHES)
    assert {name.partition("/")[0] for name in read} <= {"raw"}
    read.clear()
    assert home.built("+imagenet64/arrays") == set()
    assert read == []

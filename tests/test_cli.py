"""The command line: exit codes, one-line errors, and what each command leaves behind."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from imgassets import cli as module
from imgassets.sample_data import imagenet64
from tests.cli import Home
from tests.systemds import run_dml


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("sample")
    imagenet64.write(raw)
    return raw


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Home:
    """Sample data and everything made of it by two commands."""
    home = Home(tmp_path_factory.mktemp("filled"))
    shutil.copytree(sample, home.raw)
    for asset in ("npz_index", "arrays"):
        done = home("backfill", f"imagenet64/{asset}")
        assert done.code == 0, done
        assert "11 built, 0 unchanged, 0 failed" in done.err
    done = home("backfill", "imagenet64/csv_sample", "--set", "csv_size_gb=0.02")
    assert done.code == 0, done
    assert "2 built, 0 unchanged, 0 failed" in done.err
    return home


@pytest.fixture
def home(tmp_path: Path, filled: Home) -> Home:
    """A copy of the filled home, to be changed."""
    shutil.copytree(filled.path, tmp_path, dirs_exist_ok=True)
    return Home(tmp_path)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("command", [[], ["sample-data"], ["backfill"], ["inspect"], ["view"]])
def test_help_has_an_example(command: list[str]) -> None:
    done = CliRunner().invoke(module.main, [*command, "--help"])
    assert done.exit_code == 0
    assert "imgassets " + (command[0] if command else "sample-data") in done.output
    if command:
        assert "Example" in done.output


def test_sample_data_is_the_same_everywhere_and_left_alone(filled: Home, sample: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    done = home("sample-data", "--dataset", "imagenet64")
    assert done.code == 0
    assert f"{home.raw / 'imagenet64'} written" in done.out
    assert tree(home.raw / "imagenet64") == tree(sample / "imagenet64")
    before = times(home.raw)
    done = home("sample-data", "--dataset", "imagenet64")
    assert "is there already, left as it is" in done.out
    assert times(home.raw) == before
    elsewhere = home("sample-data", tmp_path / "else where", "--dataset", "imagenet64")
    assert elsewhere.code == 0
    assert tree(tmp_path / "else where" / "imagenet64") == tree(sample / "imagenet64")


def test_sample_data_has_every_shape_of_file(sample: Path) -> None:
    methods = set()
    for number in range(1, 11):
        with zipfile.ZipFile(sample / "imagenet64" / f"train_data_batch_{number}.npz") as archive:
            methods |= {info.compress_type for info in archive.infolist()}
    assert methods == {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    with np.load(sample / "imagenet64" / "val_data.npz", allow_pickle=False) as val:
        assert "mean" not in val.files


def test_sample_data_of_an_unknown_dataset() -> None:
    done = CliRunner().invoke(module.main, ["sample-data", "/nowhere", "--dataset", "imagenet65"])
    assert done.exit_code == 2
    assert done.output.startswith("Error: There is no sample data for 'imagenet65'")


def test_a_backfill_of_what_is_there_changes_nothing(home: Home) -> None:
    before = times(home.store)
    done = home("backfill", "imagenet64/arrays")
    assert done.code == 0
    assert "0 built, 11 unchanged, 0 failed" in done.err
    done = home("backfill", "imagenet64/csv_sample", "--set", "csv_size_gb=0.02")
    assert "0 built, 2 unchanged, 0 failed" in done.err
    assert times(home.store) == before


def test_ranges_and_missing(home: Home) -> None:
    shutil.rmtree(home.store / "imagenet64" / "arrays" / "train_data_batch_2")
    shutil.rmtree(home.store / "imagenet64" / "arrays" / "train_data_batch_9")
    between = ("--partitions", "train_data_batch_8..train_data_batch_10")  # in the partitions' order, not the text's
    done = home("backfill", "imagenet64/arrays", "--missing", *between)
    assert done.code == 0
    assert "1 built, 0 unchanged, 0 failed" in done.err
    assert not (home.store / "imagenet64" / "arrays" / "train_data_batch_2").exists()
    done = home("backfill", "imagenet64/arrays", *between)
    assert "0 built, 3 unchanged, 0 failed" in done.err
    done = home("backfill", "imagenet64/arrays", "--missing")
    assert "1 built, 0 unchanged, 0 failed" in done.err
    assert (home.store / "imagenet64" / "arrays" / "train_data_batch_2").is_dir()
    done = home("backfill", "imagenet64/arrays", "--missing")
    assert done.code == 0
    assert "0 built, 0 unchanged, 0 failed" in done.err


def test_missing_finds_what_dagster_has_no_record_of_and_what_is_cut_short(home: Home) -> None:
    shutil.rmtree(home.path / "history")
    with open(home.store / "imagenet64" / "arrays" / "train_data_batch_6" / "images.npy", "r+b") as file:
        file.truncate(999)
    done = home("backfill", "imagenet64/arrays", "--missing")
    assert done.code == 0
    assert "1 built, 10 unchanged, 0 failed" in done.err


def test_status_of_each_partition(home: Home) -> None:
    shutil.rmtree(home.store / "imagenet64" / "arrays" / "train_data_batch_2")
    done = home("status", "imagenet64/arrays", "--partitions")
    lines = {line.split()[0]: line.split()[1] for line in done.out.splitlines()[1:]}
    assert lines["imagenet64/arrays/train_data_batch_1"] == "unknown"  # it was copied here
    assert lines["imagenet64/arrays/train_data_batch_2"] == "missing"
    states = json.loads(home("status", "imagenet64/arrays", "--partitions", "--json").out)
    assert [one["state"] for one in states].count("unknown") == 10


def test_one_line_sums_up_and_errors_stand_under_their_asset(home: Home) -> None:
    (home.raw / "imagenet64" / "train_data_batch_10.npz").write_bytes(b"")
    done = home("backfill", "imagenet64/npz_index+1", "--force")
    lines = [line.strip() for line in done.err.splitlines() if line.strip()]
    assert lines.index("imagenet64/npz_index") < [line.startswith("train_data_batch_10: ") for line in lines].index(
        True
    )
    assert lines[-1].startswith("4 assets: ")


def test_force_builds_again(home: Home) -> None:
    path = home.store / "imagenet64" / "arrays" / "train_data_batch_3"
    before, content = times(path), tree(path)
    done = home("backfill", "imagenet64/arrays", "--partitions", "train_data_batch_3", "--force")
    assert "1 built, 0 unchanged, 0 failed" in done.err
    assert times(path) != before
    assert tree(path) == content


def test_settings_reach_the_assets_that_have_them(home: Home) -> None:
    done = home(
        "backfill",
        'key:"imagenet64/arrays" or key:"imagenet64/csv_sample"',
        "--set",
        "csv_size_gb=0.01",
        "--set",
        "seed=3",
    )
    assert done.code == 0
    assert "0 built, 11 unchanged" in done.err
    assert "2 built, 0 unchanged" in done.err
    assert (home.store / "imagenet64" / "csv_sample" / "val" / "imagenet_val_0.01GB.csv").is_file()
    assert not list((home.store / "imagenet64" / "csv_sample" / "val").glob("*0.02GB*"))
    sidecar = json.loads((home.store / "imagenet64" / "csv_sample" / "val" / "sample.json").read_text())
    assert sidecar["notes"]["seed"] == 3


def test_a_broken_batch_fails_alone_with_exit_code_1(home: Home) -> None:
    (home.raw / "imagenet64" / "train_data_batch_10.npz").write_bytes(b"")
    done = home.shell("backfill", "imagenet64/npz_index", "--force", cwd=home.path)
    assert done.code == 1
    assert "10 built, 0 unchanged, 1 failed" in done.err
    (line,) = [line for line in done.err.splitlines() if "is empty" in line]
    assert line.strip().startswith("train_data_batch_10: ")
    assert "Traceback" not in done.err
    assert not (home.store / "imagenet64" / "npz_index" / ".train_data_batch_10.stage").exists()


def test_a_warning_check_is_shown_and_is_no_failure(home: Home) -> None:
    done = home("backfill", "imagenet64/csv_sample", "--set", "csv_size_gb=1.5", "--partitions", "val")
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if "size_reached" in line]
    assert line.strip().startswith("size_reached of val: warn: 60 of 60 rows")


def test_missing_upstream_names_what_to_make_first(home: Home) -> None:
    shutil.rmtree(home.store / "imagenet64" / "arrays" / "train_data_batch_5")
    done = home("backfill", "imagenet64/csv_sample", "--force")
    assert done.code == 1
    assert "1 built, 0 unchanged, 1 failed" in done.err
    (line,) = [line for line in done.err.splitlines() if "Combined binary files not found" in line]
    assert "imagenet64/arrays has no partition train_data_batch_5 yet" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["backfill", "imagenet64/nothing"], "'imagenet64/nothing' selects nothing"),
        (["backfill", "group:nothing"], "'group:nothing' selects nothing"),
        (["backfill", "key:("], "'key:(' selects nothing"),
        (["backfill", "imagenet64/arrays", "--partitions", "batch_1"], "There is no partition 'batch_1'"),
        (["backfill", "imagenet64/arrays", "--partitions", "train_data_batch_1.."], "is no range A..B"),
        (["backfill", "imagenet64/arrays", "--partitions", "../../etc/passwd"], "'../../etc/passwd' is no range"),
        (["backfill", "imagenet64/arrays", "--partitions", "val_data..train_data_batch_1"], "comes before"),
        (["backfill", "imagenet64/arrays", "--set", "csv_size_gb"], "is no NAME=VALUE"),
        (["backfill", "imagenet64/arrays", "--set", "csv_size_gb=1"], "No asset of 'imagenet64/arrays' has all"),
        (["backfill", "imagenet64/csv_sample", "--set", "csv_size=1"], "has all of the settings csv_size"),
        (["backfill", "imagenet64/csv_sample", "--set", "csv_size_gb=big"], "csv_size_gb is 'big': Input should be"),
        (["plan", "imagenet64/csv_sample", "--set", "seed=1.5"], "seed is 1.5: Input should be"),
        (["backfill", "ilsvrc2012/tfrecords", "--set", "seed=-1"], "seed is -1: Input should be"),
        (["backfill", "*", "--set", "force=maybe"], "force is 'maybe': Input should be"),
        (["sample-data", "/proc/nowhere"], "/proc/nowhere: "),
        (["view", "imagenet64/nothing", "x"], "'imagenet64/nothing' selects nothing"),
        (["backfill", "imagenet64/arrays", "--partitions", "val_data../x"], "There is no partition '/x'"),
        (["view", "*", "x"], "expected one: name it"),
        (["view", "imagenet64/arrays", "x", "--partitions", "../x"], "'../x' is no range"),
        (["view", "imagenet64/arrays", "x"], "No partition of imagenet64/arrays is finished"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = Home(tmp_path)(*arguments)
    assert done.code == (1 if arguments[0] == "sample-data" or "No partition" in says else 2)
    (line,) = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert says in line
    assert len(line) <= 520
    assert done.out == ""
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["status", "imagenet64/aray"], "imagenet64/arrays"),
        (["status", "arays"], "imagenet64/arrays"),
        (["plan", "+imagenet64/csv_smaple"], "imagenet64/csv_sample"),
        (["plan", "group:imagnet64"], "imagenet64"),
        (["plan", 'key:"imagenet64/arrays" or key:"imagenet64/npzindex"'], "imagenet64/npz_index"),
        (["backfill", "imagenet64/arrays", "--partitions", "train_data_bach_3"], "train_data_batch_3"),
        (["backfill", "imagenet64/csv_sample", "--set", "csv_size=1"], "csv_size_gb"),
        (["backfill", "imagenet64/csv_sample", "--reset", "sed"], "seed"),
        (["sample-data", "--dataset", "imagenet_64"], "imagenet64"),
        (["init", "photos", "--with", "ct-rate"], "ct_rate"),
        (["trace", "imagenet64/csv_smple/train"], "imagenet64/csv_sample"),
        (["view", "ilsvrc2012/tfrecord", "x"], "ilsvrc2012/tfrecords"),
        (["backfil", "*"], "backfill"),
    ],
)
def test_a_typo_gets_the_right_suggestion(tmp_path: Path, arguments: list[str], meant: str) -> None:
    done = Home(tmp_path)(*arguments)
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert line.endswith(f"Did you mean {meant}?")
    assert not (tmp_path / "store").exists()


def test_a_home_that_is_none_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Home(tmp_path / "nowhere")("status", "group:imagenet64")
    assert done.code == 1
    assert (
        done.err == f"Error: DAGSTER_HOME is {tmp_path}/nowhere, which is no folder: create it, or name another one.\n"
    )
    monkeypatch.chdir(tmp_path)
    assert Home(Path("."))("status", "group:imagenet64").code == 0


def test_a_port_that_is_none(tmp_path: Path) -> None:
    done = Home(tmp_path)("ui", "--port", "65536")
    assert done.code == 2
    assert "65536 is not in the range" in done.err


def test_inspect_a_file(sample: Path) -> None:
    done = CliRunner().invoke(module.main, ["inspect", str(sample / "imagenet64" / "train_data_batch_1.npz")])
    assert done.exit_code == 0
    assert "train_data_batch_1.npz: 36 images of 64×64" in done.output
    assert "crc" in done.output
    assert done.output.count("verified") == 3


def test_inspect_a_folder_as_json_in_natural_order(sample: Path, tmp_path: Path) -> None:
    shutil.copytree(sample / "imagenet64", tmp_path, dirs_exist_ok=True)
    (tmp_path / "train_data_batch_2.npz").write_bytes(b"PK")
    done = CliRunner().invoke(module.main, ["inspect", str(tmp_path), "--json"])
    assert done.exit_code == 1
    reports = json.loads(done.output)
    assert [report["file"] for report in reports] == [f"train_data_batch_{n}.npz" for n in range(1, 11)] + [
        "val_data.npz"
    ]
    assert [report["file"] for report in reports if "error" in report] == ["train_data_batch_2.npz"]
    rows = [report.get("rows") for report in reports]
    assert rows == [imagenet64.ROWS[0], None, *imagenet64.ROWS[2:], imagenet64.VAL_ROWS]


def test_inspect_what_cannot_be_read(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"nonsense")
    done = CliRunner().invoke(module.main, ["inspect", str(tmp_path / "x.npz")])
    assert done.exit_code == 1
    assert "is not an NPZ file" in done.output
    wrong = CliRunner().invoke(
        module.main, ["inspect", "--resolution", "32", str(sample / "imagenet64" / "val_data.npz")]
    )
    assert wrong.exit_code == 1
    assert "set resolution to 64" in wrong.output
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "manifest.json").write_text("{")
    for form in ([], ["--json"]):
        damaged = CliRunner().invoke(module.main, ["inspect", str(tmp_path / "shards"), *form])
        assert damaged.exit_code == 1
        assert "manifest.json is damaged" in damaged.output
    (tmp_path / "empty").mkdir()
    nothing = CliRunner().invoke(module.main, ["inspect", str(tmp_path / "empty")])
    assert nothing.exit_code == 0
    assert nothing.output.strip().endswith(": an empty folder")
    gone = CliRunner().invoke(module.main, ["inspect", str(tmp_path / "gone")])
    assert gone.exit_code == 2


GUIDE = """
train_data = read("imagenet_train_{size}GB.csv", format="csv")
train_labels = read("imagenet_train_labels_{size}GB.csv", format="csv")
val_data = read("imagenet_val_{size}GB.csv", format="csv")
val_labels = read("imagenet_val_labels_{size}GB.csv", format="csv")
print("Training data: " + nrow(train_data) + " x " + ncol(train_data))
print("Training labels: " + nrow(train_labels) + " x " + ncol(train_labels))
print("Validation data: " + nrow(val_data) + " x " + ncol(val_data))
print("Sum of labels: " + sum(train_labels) + " and " + sum(val_labels))
print("Sum of levels: " + sum(round(255 * val_data)))
"""


def test_the_guides_script_runs_in_a_view(filled: Home, tmp_path: Path) -> None:
    folder = tmp_path / "systemds_ready"
    done = filled.shell("view", "imagenet64/csv_sample", "systemds_ready", cwd=tmp_path)
    assert done.code == 0, done
    names = [
        f"imagenet_{split}{kind}_0.02GB.csv{tail}"
        for split in ("train", "val")
        for kind in ("", "_labels")
        for tail in ("", ".mtd")
    ]
    links = {path.name for path in folder.iterdir() if path.is_symlink()}
    assert set(names) <= links
    assert all(path.exists() for path in folder.rglob("*"))
    output = run_dml(GUIDE.replace("{size}", "0.02"), folder)
    rows = (folder / "imagenet_train_0.02GB.csv").read_bytes().count(b"\n")
    assert f"Training data: {rows} x 12288" in output
    assert f"Training labels: {rows} x 1000" in output
    assert f"Validation data: {imagenet64.VAL_ROWS} x 12288" in output
    with np.load(filled.raw / "imagenet64" / "val_data.npz", allow_pickle=False) as val:
        levels = int(val["data"].sum(dtype=np.int64))
    assert float(output.split("Sum of levels: ")[1].split()[0]) == levels
    assert f"Sum of labels: {rows}.0 and {imagenet64.VAL_ROWS}.0" in output


def test_a_view_follows_what_is_made_and_touches_nothing_else(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    assert home("view", "imagenet64/arrays", folder, "--partitions", "train_data_batch_1..train_data_batch_2").code == 0
    images = folder / "train_data_batch_2" / "images.npy"  # every partition has one, so they lie apart
    assert images.is_symlink()
    assert np.array_equal(
        np.load(images, allow_pickle=False),
        np.load(home.store / "imagenet64" / "arrays" / "train_data_batch_2" / "images.npy", allow_pickle=False),
    )
    (folder / "mine.txt").write_text("mine")
    shutil.rmtree(home.store / "imagenet64" / "arrays" / "train_data_batch_1")
    assert home("view", "imagenet64/arrays", folder).code == 0
    assert not (folder / "train_data_batch_1" / "images.npy").is_symlink()
    assert (folder / "mine.txt").read_text() == "mine"
    assert images.exists()
    images.unlink()
    images.write_text("a file of mine")
    done = home("view", "imagenet64/arrays", folder)
    assert done.code == 1
    assert "is no link" in done.err
    assert images.read_text() == "a file of mine"

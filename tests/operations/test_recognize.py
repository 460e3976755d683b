"""`imgassets inspect` says what anything is, and what it prints declares it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from imgassets.cli import main
from imgassets.errors import Misunderstood
from imgassets.operations.declare import declaration
from imgassets.operations.recognize import recognize
from imgassets.projects import Project
from imgassets.sample_data import WRITERS
from tests.cli import CHECKOUT, Home
from tests.pictures import jpeg

IMAGE = jpeg()


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    for write in WRITERS.values():
        write(raw)
    return raw


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("DAGSTER_HOME", "IMGASSETS_RAW"):  # those of tests before
        monkeypatch.delenv(name, raising=False)
    CliRunner().invoke(main, ["init", str(tmp_path / "photos")])
    found = Project.of(tmp_path / "photos")
    assert found
    return found


def attributes(path: Path, project: Project) -> dict[str, object]:
    declared = yaml.safe_load(declaration(path, recognize(path), project).yaml)
    return {"type": declared["type"].rpartition(".")[2], **declared["attributes"]}


def write(folder: Path, *names: str, data: bytes = IMAGE) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_sample_data_are_declared_as_they_are(raw: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGASSETS_RAW", str(raw))
    found = {path: attributes(raw / path, project) for path in ("imagenet64", "ilsvrc2012", "folders/mini", "ct_rate")}
    assert found == {
        "imagenet64": {"type": "NpzImages", "name": "imagenet64", "root": "imagenet64"},
        "ilsvrc2012": {"type": "IlsvrcTars", "name": "ilsvrc2012", "root": "ilsvrc2012"},
        "folders/mini": {"type": "ImageFolder", "name": "mini", "root": "folders/mini"},
        "ct_rate": {"type": "CtVolumes", "name": "ct_rate", "repository": str(raw / "ct_rate")},
    }
    dense = attributes(raw / "dense" / "mini", project)
    assert (dense["root"], dense["labels"]) == ("dense/mini/images", "dense/mini/labels")
    assert recognize(raw / "dmd2").what == "weights of a network"


def test_splits_synsets_and_batches_that_are_there(raw: Path, project: Project, tmp_path: Path) -> None:
    folder = write(tmp_path / "sets", "train/n00000001/a", "train/n00000002/b", "val/n00000001/c")
    assert attributes(folder, project) == {
        "type": "ImageFolder",
        "name": "sets",
        "splits": {"train": "folders/sets/train", "val": "folders/sets/val"},
        "classes": "imagenet",
    }
    some = write(tmp_path / "some", "val_data.npz", data=(raw / "imagenet64" / "val_data.npz").read_bytes())
    write(some, "train_data_batch_3.npz", data=(raw / "imagenet64" / "train_data_batch_3.npz").read_bytes())
    assert attributes(some, project)["train_batches"] == [3]


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("index.json", b'{"version": 2, "shards": []}', "a data set of MosaicML streaming (MDS)"),
        ("index.json", b'{"chunks": [], "config": {}}', "a data set of litdata"),
        ("data.mdb", b"", "an LMDB database"),
        ("zarr.json", b"{}", "a Zarr store"),
        ("x.beton", b"", "FFCV files"),
        ("dataset_dict.json", b"{}", "splits that `save_to_disk` of Hugging Face `datasets` wrote"),
        ("train-00000-of-00001", b"", "1 TFRecord shards"),
        ("a.jpg", IMAGE, "a folder of images without classes"),
        ("mini/bear/a.jpg", IMAGE, "a folder of folders of images (mini)"),
        ("notes.txt", b"x", "a folder without images: notes.txt"),
    ],
)
def test_folders_of_others(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    assert recognize(write(tmp_path / "it", name, data=data)).what == what


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a", IMAGE, "an image (jpg)"),
        ("a.zip", b"PK\3\4", "a zip archive: unpack it first"),
        ("a", b"version https://git-lfs", "a pointer of Git LFS, not the file: run git lfs pull"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("a.dcm", bytes(128) + b"DICM", "a DICOM file"),
        ("a.nii.gz", b"\x1f\x8b", "a NIfTI volume"),
        ("a", b"", "an empty file"),
        ("a", b"\x81\x82\x83", "a file of no kind that is known here"),
    ],
)
def test_files(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    assert recognize(write(tmp_path, name, data=data) / name).what == what


def test_what_no_component_reads_says_what_to_do(tmp_path: Path, project: Project) -> None:
    with pytest.raises(Misunderstood, match="export its images to <class>/<image>"):
        declaration(write(tmp_path / "it", "data.mdb"), recognize(tmp_path / "it"), project)


def test_names_that_yaml_would_take_for_something_else(tmp_path: Path, project: Project) -> None:
    for name in ("on", "1 : 2", "a # b", "Straße", "- x", "'"):
        folder = write(tmp_path / name, "train/a/1", "val/a/2")
        declared = yaml.safe_load(declaration(folder, recognize(folder), project, "sets").yaml)["attributes"]
        assert declared["splits"] == {"train": "folders/sets/train", "val": "folders/sets/val"}
    (project.home / "raw").mkdir(exist_ok=True)
    folder = write(project.home / "raw" / "{{ cycler }}", "a/1")
    with pytest.raises(Misunderstood, match="is code"):
        declaration(folder, recognize(folder), project)


def test_add_writes_what_inspect_prints_and_it_loads(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGASSETS_PROJECT", "")  # --project sets it in this process
    folder = write(tmp_path / "Cats & dogs", "cat/1.jpg", "dog/2.jpg")
    home = Home(project.home)
    at = ("--project", project.root)
    said = home("inspect", folder, *at)
    assert said.code == 0
    refused = home("add", folder, *at)
    assert refused.code == 1
    assert "add --link" in refused.err
    done = home("add", folder, "--link", *at)
    assert done.code == 0, done.err
    file = project.root / "photos" / "defs" / "cats_dogs" / "defs.yaml"
    assert said.out.strip().endswith(file.read_text().strip())
    assert (project.home / "raw" / "folders" / "cats_dogs").resolve() == folder
    again = home("add", folder, *at)
    assert again.code == 1
    assert "declares cats_dogs already" in again.err
    status = home.shell("status", "group:cats_dogs", "--json", cwd=project.root)
    assert status.code == 0, status.err
    assert {one["missing"] for one in json.loads(status.out)} == {1}


def test_the_demo_gets_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMGASSETS_PROJECT", raising=False)
    folder = write(tmp_path / "cats", "cat/1.jpg")
    done = Home(tmp_path)("add", folder, "--link")
    assert done.code == 1
    assert "imgassets init DIR" in done.err


def test_to_recognize_loads_neither_dagster_nor_numpy(tmp_path: Path) -> None:
    folder = write(tmp_path / "cats", "cat/1.jpg")
    script = (
        "import sys\nfrom imgassets.cli import main\n"
        f"main(['inspect', {str(folder)!r}], standalone_mode=False)\n"
        "assert not {'dagster', 'numpy'} & set(sys.modules), 'slow'"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_as_json(tmp_path: Path) -> None:
    folder = write(tmp_path / "cats", "cat/1.jpg")
    (told,) = json.loads(CliRunner().invoke(main, ["inspect", str(folder), "--json"]).stdout)
    assert told["what"] == "a folder of images in 1 classes (cat)"
    assert yaml.safe_load(told["yaml"])["attributes"]["name"] == "cats"

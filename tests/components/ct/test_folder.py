"""A hospital's folder of NIfTI files goes from YAML to training crops; what cannot be used is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml

from imgassets import open_store
from imgassets.components.ct.volumes import CtVolumes
from imgassets.errors import BadInput
from imgassets.sources.ct_folder import CtFolder, dealt, volume_key
from imgassets.stores.ct import CtStore
from imgassets.volumes import to_patient
from tests.components.ct.test_volumes import SHAPE, SPACING, World
from tests.volumes.phantom import chest

LPS = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
RAS = np.diag([*SPACING, 1.0])
TABLE = """id,patient,split,report,nodule,effusion
anna/scan one.nii.gz,1,train,A nodule.,1,0
anna/later.nii,1,train,"Two lines,
and a comma.",0,1
berta.nii.gz,2,valid,,0,0
carl/int64.nii.gz,3,train,Nothing.,0,0
carl/lost.nii.gz,3,train,Gone.,0,0
dora.nii.gz,4,elsewhere,Not here.,0,0
"""


def write(place: Path, seed: int = 0, affine: Any = RAS, kind: Any = nibabel.Nifti1Image, dtype: str = "i2") -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(kind(chest(SHAPE, seed).astype(dtype), affine, dtype=dtype), place)


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    root = tmp_path / "hospital"
    write(root / "anna/scan one.nii.gz", 1)
    write(root / "anna/later.nii", 2, LPS)
    write(root / "berta.nii.gz", 3, kind=nibabel.Nifti2Image, dtype="f8")
    write(root / "carl/int64.nii.gz", 4, dtype="i8")
    write(root / "dora.nii.gz", 5)
    write(root / "unlisted.nii.gz", 6)
    (root / "notes.docx").write_bytes(b"x")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "volumes.csv").write_text(TABLE)
    return root


def test_from_yaml_to_crops(hospital: Path, tmp_path: Path) -> None:
    said = yaml.safe_load("{source: folder, table: volumes.csv, orientation: RAS, splits: [train, valid]}")
    world = World(tmp_path, str(hospital), **said)
    split = world.all()
    assert split.study_ids == ["anna_later", "anna_scan-one", "carl_int64"]
    assert split.class_names == ["nodule", "effusion"]
    assert split.manifest["dataset"] == "ct"
    assert split.manifest["source_axes"] == {"RAS": 2, "LPS": 1}
    assert {entry["key"]: entry["reason"] for entry in split.manifest["skipped"]} == {
        "carl_lost": "absent: listed in volumes.csv, no such file in the folder",
        "unlisted": "unlisted: no row in volumes.csv",
    }
    report = json.loads((tmp_path / "store/ct/volume_index/train/report.json").read_text())
    (manifest,) = (tmp_path / "store/ct/volume_index/train").glob(".imgassets.json")
    facts = json.loads(manifest.read_text())["facts"]
    assert facts["walked"] == 10  # and a row of the table without a file
    assert {reason: of["examples"] for reason, of in facts["passed_over"].items()} == {
        "hidden": [".DS_Store"],
        "in another split": ["berta.nii.gz", "dora.nii.gz"],
        "no volume": ["notes.docx"],
        "the table": ["volumes.csv"],
    }
    assert report["label_counts"] == {"nodule": 1, "effusion": 1}
    assert report["axes"] == {"LPS": 1, "RAS": 2}
    table = __import__("pyarrow.parquet").parquet.read_table(tmp_path / "store/ct/volume_index/train/index.parquet")
    assert dict(zip(table["key"].to_pylist(), table["axes"].to_pylist(), strict=True))["anna_later"] == "LPS"
    for key, seed in (("anna_scan-one", 1), ("carl_int64", 4)):
        middle = split[split.study_ids.index(key)].volume[20, 18, 12]
        assert abs(float(middle) - np.clip(chest(SHAPE, seed), -1000, 1000)[15, 14, 10] / 1000) < 0.2

    store = open_store(split.folder)
    assert isinstance(store, CtStore)
    batches = list(store.loader(2, crop=(16, 16, 8), crops=3, positive="nodule"))
    assert sum(len(volumes) for volumes, _, _ in batches) == 9
    assert {tuple(volumes.shape[1:]) for volumes, _, _ in batches} == {(16, 16, 8)}
    assert {report for _, reports, _ in batches for report in reports} <= {
        *("A nodule.", "Two lines,\nand a comma.", "Nothing.")
    }
    to_patient(store[0].volume, store.document(0), tmp_path / "back.nii.gz")
    back = nibabel.load(tmp_path / "back.nii.gz")
    corner = np.linalg.inv(LPS) @ back.affine @ [20, 18, 12, 1]
    np.testing.assert_allclose(corner[:3], np.array(SHAPE) / 2, atol=1.5)  # the centres coincide

    world.make("volume_index", "valid")
    (valid,) = world.partitions("valid")
    world.make("shards", valid)
    world.make("manifest", "valid")
    assert world.split("valid").study_ids == ["berta"]


def test_without_a_table_and_as_stored(hospital: Path, tmp_path: Path) -> None:
    world = World(tmp_path, str(hospital), source="folder", splits=["all"])
    split = world.all("all")
    assert len(split) == 6
    assert split.class_names == []
    assert {one["axes"] for one in map(split.document, range(6))} == {"RAS", "LPS"}
    assert [entry["key"] for entry in split.manifest["noted"]] == ["anna_later"]
    store = open_store(split.folder)
    assert store.labels.shape == (6, 0)
    assert len(next(iter(store.loader(6)))[0]) == 6


def test_patients_are_dealt_whole(hospital: Path, tmp_path: Path) -> None:
    shares = {"train": 0.5, "valid": 0.5}
    folder = CtFolder(hospital, shares=tuple(shares.items()))
    of = {split: {row.key for row in folder.rows(split, list(shares))} for split in shares}
    assert len(of["train"] | of["valid"]) == 6
    assert not of["train"] & of["valid"]
    assert any({"anna_later", "anna_scan-one"} <= keys for keys in of.values())
    counts = [dealt(str(patient), tuple(shares.items())) for patient in range(2000)].count("train")
    assert 900 < counts < 1100


@pytest.mark.parametrize(
    ("table", "settings", "told"),
    [
        ("id,age\nberta.nii.gz,63\n", {}, "'age' is '63' for berta, no label of 0 or 1: name the columns"),
        ("id,age\nberta.nii.gz,63\n", {"labels": ("sex",)}, r"labels: 'sex' is no column of the table, only \['age'\]"),
        ("id,patient,split\nberta,1,train\ndora,1,valid\n", {}, "berta is of train and dora of valid"),
        ("id,x\nberta,1\n", {}, "Nothing says which volumes are of train, valid: give the table a column 'split'"),
        ("name,x\nberta,1\n", {}, "has no column 'id'"),
    ],
)
def test_tables_that_cannot_be(hospital: Path, table: str, settings: dict[str, Any], told: str) -> None:
    (hospital / "volumes.csv").write_text(table)
    folder = CtFolder(hospital, table=hospital / "volumes.csv", **settings)
    shares = {} if "Nothing" in told or "split" in table else {"shares": (("train", 1.0), ("valid", 1.0))}
    with pytest.raises(BadInput, match=told):
        CtFolder(hospital, table=folder.table, labels=folder.labels, **shares).rows("train", ["train", "valid"])


def test_a_name_that_two_files_have(hospital: Path) -> None:
    write(hospital / "emil/berta.nii.gz")
    folder = CtFolder(hospital, table=hospital / "volumes.csv")
    assert "berta" in {row.key for row in folder.rows("valid", ["train", "valid"])}  # a whole path comes first
    (hospital / "berta.nii.gz").rename(hospital / "anna/berta.nii.gz")
    with pytest.raises(BadInput, match=r"'berta' is the name of 2 files, anna/berta.nii.gz, emil/berta.nii.gz"):
        folder.rows("valid", ["train", "valid"])


def test_what_cannot_be_read_is_left_out_before_shards_are_cut(hospital: Path, tmp_path: Path) -> None:
    (hospital / "cut.nii.gz").write_bytes(gzip.compress(bytes(range(1, 21))))
    world = World(tmp_path, str(hospital), source="folder", splits=["all"])
    split = world.all("all")
    (entry,) = split.manifest["skipped"]
    assert entry["key"] == "cut"
    assert entry["reason"].startswith("unreadable: cut.nii.gz cannot be read: not NIfTI: 20 bytes")


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"table": "x.csv"}, "table is x.csv: expected nothing but for source: folder"),
        ({"source": "folder", "split_shares": {"train": 1.0}}, "expected a part above 0 for each split"),
    ],
)
def test_attributes_that_cannot_be(attributes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        CtVolumes("ct", "x", **attributes)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    world = World(tmp_path, str(tmp_path / "nowhere"), source="folder", splits=["all"])
    assert "is no folder of the project" in world.fail("volume_index", "all")


def test_keys() -> None:
    assert volume_key("p 12/ä b/scan.1.nii.gz") == "p-12_-b_scan-1"


def test_two_files_of_one_key_are_one_row_that_is_left_out(tmp_path: Path) -> None:
    for name in ("a b.nii.gz", "a-b.nii", "c.nii.gz"):
        write(tmp_path / "hospital" / name)
    world = World(tmp_path, str(tmp_path / "hospital"), source="folder", splits=["all"])
    split = world.all("all")  # whose checks count rows and files
    assert split.study_ids == ["c"]
    assert split.manifest["skipped"] == [{"key": "a-b", "reason": "two files have this name"}]

"""The CT graph from a hub on loopback to what training code reads, on a small grid."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import nibabel
import numpy as np
import pytest

from imgassets.components.ct.volumes import CtVolumes
from imgassets.environment import Storage
from imgassets.formats.ct_split import CtSplit
from imgassets.sample_data.ct_rate import ABSENT, BLANK, NO_SPACING, chest, files, nifti
from tests.components.building import built
from tests.hub import REPOSITORY, LoopbackHub

GRID: dict[str, Any] = {"shape": (40, 36, 24), "spacing": (2.0, 2.0, 4.0)}
SHAPE, SPACING = (30, 28, 20), (3.0, 2.5, 4.5)
TOKEN = "hf_CANARYcanaryCANARYcanary"  # noqa: S105


class World:
    """A vault, an instance, and the means to materialize one dataset."""

    instances: ClassVar[list[dg.DagsterInstance]] = []

    def __init__(self, folder: Path, repository: str, *, on_disk: bool = False, **attributes: Any) -> None:
        self.folder, self.log = folder, ""
        self.storage = Storage(raw=str(folder / "raw"), store=str(folder / "store"), state=str(folder / "state"))
        (folder / "home").mkdir(parents=True)
        self.instance = (
            dg.DagsterInstance.local_temp(str(folder / "home")) if on_disk else dg.DagsterInstance.ephemeral()
        )
        self.instances.append(self.instance)
        self.configure(repository, **attributes)

    def configure(self, repository: str, **attributes: Any) -> None:
        dataset = CtVolumes("ct", repository, **{"samples_per_shard": 2, "workers": 2, **GRID, **attributes})
        self.definitions = built(dataset, self.storage)

    def run(self, asset: str, partition: str, config: Mapping[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            asset_selection=[dg.AssetKey(["ct", asset])],
            partition_key=partition,
            instance=self.instance,
            raise_on_error=False,
            run_config={"ops": {f"ct__{asset}": {"config": dict(config or {})}}},
        )

    def make(self, asset: str, partition: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result = self.run(asset, partition, config)
        assert result.success, self.reason(result)
        (event,) = result.asset_materializations_for_node(f"ct__{asset}")
        for evaluation in result.get_asset_check_evaluations():
            assert evaluation.passed or evaluation.severity is dg.AssetCheckSeverity.WARN, evaluation
        return {name: value.value for name, value in event.metadata.items()}

    def fail(self, asset: str, partition: str, config: Mapping[str, Any] | None = None) -> str:
        result = self.run(asset, partition, config)
        assert not result.success
        return self.reason(result)

    def all(self, split: str = "train") -> CtSplit:
        self.make("volume_index", split)
        for key in self.partitions(split):
            self.make("shards", key)
        self.make("manifest", split)
        return self.split(split)

    def partitions(self, split: str = "train") -> list[str]:
        return [key for key in self.instance.get_dynamic_partitions("ct_shards") if key.startswith(split)]

    def split(self, split: str = "train") -> CtSplit:
        return CtSplit(self.folder / "store/ct/shards" / split)

    def tree(self) -> dict[str, tuple[bytes, int]]:
        """Content and time of everything under the vault."""
        return {
            str(p.relative_to(self.folder)): (p.read_bytes() if p.is_file() else b"", p.stat().st_mtime_ns)
            for p in sorted((self.folder / "store").rglob("*"))
        }

    @staticmethod
    def reason(result: dg.ExecuteInProcessResult) -> str:
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        return " ".join(str(failure.error_display_string) for failure in failures)


def mirror(folder: Path, content: Mapping[str, bytes]) -> str:
    for path, data in content.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return str(folder)


@pytest.fixture(autouse=True)
def _dispose() -> Iterator[None]:
    """An instance that is left to the garbage collector warns about its folder."""
    yield
    while World.instances:
        World.instances.pop().dispose()


@pytest.fixture(scope="module")
def content() -> dict[str, bytes]:
    return dict(files(shape=SHAPE, spacing=SPACING))


@pytest.fixture
def hub(content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(content) as hub:
        hub.install(monkeypatch, tmp_path)
        yield hub


def test_from_the_hub_to_training_samples(hub: LoopbackHub, content: dict[str, bytes], tmp_path: Path) -> None:
    world = World(tmp_path, REPOSITORY)
    split = world.all()
    assert split.study_ids == ["train_1_a_1", "train_1_a_2", "train_10_a_1"]
    assert split.manifest["revision"] == hub.commit
    assert {entry["key"] for entry in split.manifest["skipped"]} == {BLANK, ABSENT, NO_SPACING}
    assert [len(shard.samples) for shard in split.shards] == [2, 1]  # the blank one leaves its shard short
    for key, (volume, report, labels) in zip(split.study_ids, split, strict=True):
        assert volume.shape == GRID["shape"]
        assert volume.dtype == np.float16
        assert not volume.flags.writeable
        assert labels.shape == (18,)
        assert "Not given." not in report
        path = next(path for path in content if path.endswith(f"/{key}.nii.gz"))
        (tmp_path / "v.nii.gz").write_bytes(content[path])
        hu = nibabel.load(tmp_path / "v.nii.gz").get_fdata()
        assert abs(float(volume[20, 18, 12]) - hu[15, 14, 10] / 1000) < 0.2  # the centres coincide
    assert [path for path in (tmp_path / "state/downloads").rglob("*") if path.is_file()] == []


def test_a_local_folder_gives_the_same_shards_as_the_hub(
    hub: LoopbackHub, content: dict[str, bytes], tmp_path: Path
) -> None:
    there = World(tmp_path / "a", REPOSITORY).all()
    here = World(tmp_path / "b", mirror(tmp_path / "mirror", content), workers=1).all()
    assert [s.sha256 for s in there.shards] == [s.sha256 for s in here.shards]


def test_faults_of_the_hub_do_not_reach_a_shard(hub: LoopbackHub, content: dict[str, bytes], tmp_path: Path) -> None:
    expected = World(tmp_path / "b", mirror(tmp_path / "mirror", content)).all()
    for path in content:
        hub.faults[path] = ["corrupt", "reset", "503"]
    found = World(tmp_path / "a", REPOSITORY).all()
    assert [s.sha256 for s in found.shards] == [s.sha256 for s in expected.shards]


def test_a_download_that_fails_publishes_nothing_and_says_which(
    hub: LoopbackHub, content: dict[str, bytes], tmp_path: Path
) -> None:
    world = World(tmp_path, REPOSITORY)
    world.make("volume_index", "train")
    before = world.tree()
    path = next(path for path in content if "train_1_a_2" in path)
    hub.faults[path] = ["corrupt"] * 99
    text = world.fail("shards", "train-000000")
    assert "ct/shards/train-000000: Failed to download" in text
    assert "train_1_a_2.nii.gz" in text
    assert world.tree().keys() == before.keys()
    hub.faults.clear()
    world.make("shards", "train-000000")


def test_the_token_is_in_no_log_database_or_artifact(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    world = World(tmp_path, REPOSITORY, on_disk=True)
    with caplog.at_level(logging.DEBUG):
        world.all("valid")
        hub.token = "hf_anotherTOKENanother"  # noqa: S105  (from here on ours is refused)
        text = world.fail("volume_index", "train")
    assert "gated" in text
    assert hub.authorizations == {f"Bearer {TOKEN}"}
    assert TOKEN not in text + caplog.text
    everything = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in everything)
    assert [path for path in everything if TOKEN.encode() in path.read_bytes()] == []


def test_a_rerun_touches_nothing_and_asks_for_no_volume(hub: LoopbackHub, tmp_path: Path) -> None:
    world = World(tmp_path, REPOSITORY)
    world.all()
    before = world.tree()
    hub.requests.clear()
    assert world.make("volume_index", "train")["state"] == "unchanged, skipped"
    assert all(world.make("shards", key)["state"] == "unchanged, skipped" for key in world.partitions())
    assert world.make("manifest", "train")["state"] == "unchanged, skipped"
    assert world.tree() == before
    assert set(hub.requests) == {("GET", "revision")}
    world.make("shards", "train-000000", {"force": True})
    assert [c for c, _ in world.tree().values()] == [c for c, _ in before.values()]


def test_another_shard_size_replaces_partitions_and_is_not_mixed(content: dict[str, bytes], tmp_path: Path) -> None:
    world = World(tmp_path, mirror(tmp_path / "mirror", content))
    world.all()
    assert world.partitions() == ["train-000000", "train-000001"]
    world.make("volume_index", "train", {"samples_per_shard": 4})
    assert world.partitions() == ["train-000000"]
    assert "made with other settings" in world.fail("manifest", "train")
    world.make("shards", "train-000000")
    assert "shard-000001.tar" in world.fail("manifest", "train")
    (tmp_path / "store/ct/shards/train/shard-000001.tar").unlink()
    world.make("manifest", "train")
    assert len(world.split()) == 3


def test_other_preprocessing_is_not_mixed(content: dict[str, bytes], tmp_path: Path) -> None:
    repository = mirror(tmp_path / "mirror", content)
    world = World(tmp_path, repository)
    world.all()
    world.configure(repository, pad_value=0.0)
    assert "made with other settings" in world.fail("manifest", "train")


def test_a_changed_volume_rebuilds_its_shard_alone(content: dict[str, bytes], tmp_path: Path) -> None:
    repository = mirror(tmp_path / "mirror", content)
    world = World(tmp_path, repository)
    world.all()
    path = next(tmp_path / "mirror" / path for path in content if "train_10_a_1" in path)
    path.write_bytes(nifti(chest(SHAPE, 77), SPACING))
    os.utime(path, ns=(1, 1))
    assert world.make("volume_index", "train")["state"] == "built"
    states = [world.make("shards", key)["state"] for key in world.partitions()]
    assert states == ["unchanged, skipped", "built"]
    assert world.make("manifest", "train")["state"] == "built"


def test_too_many_skips_fail_the_split(content: dict[str, bytes], tmp_path: Path) -> None:
    world = World(tmp_path, mirror(tmp_path / "mirror", content), max_skipped=2, max_skipped_share=0.4)
    world.make("volume_index", "train")
    for key in world.partitions():
        world.make("shards", key)
    text = world.fail("manifest", "train")
    assert "3 of 6 volumes of train were left out" in text
    assert "2 are allowed" in text


def noted(content: dict[str, bytes]) -> dict[str, bytes]:
    """The repository with the hub's list of what is no chest, and another one."""
    lists = {"no_chest_train.txt": b"train_1_a_2.nii.gz\nnobody.nii.gz\n", "mine.txt": b"train_1_a_1\n"}
    return content | {f"dataset/metadata/{name}": data for name, data in lists.items()}


@pytest.mark.parametrize(
    ("lists", "left_out"),
    [
        (None, {"train_1_a_2"}),
        ([], set()),
        (["dataset/metadata/mine.txt"], {"train_1_a_1"}),
        (["dataset/metadata/mine.txt", "dataset/metadata/no_chest_{split}.txt"], {"train_1_a_1", "train_1_a_2"}),
    ],
)
def test_lists_of_what_is_no_chest(
    content: dict[str, bytes], tmp_path: Path, lists: list[str] | None, left_out: set[str]
) -> None:
    place = mirror(tmp_path / "mirror", noted(content))
    world = World(tmp_path, place, exclude_lists=lists, max_skipped=3, max_skipped_share=0.0)
    split = world.all()
    told = {entry["key"]: entry["reason"] for entry in split.manifest["skipped"]}
    assert {key for key, reason in told.items() if reason.startswith("excluded: dataset/metadata/")} == left_out
    assert not left_out & set(split.study_ids)
    assert len(told) == 3 + len(left_out)  # which do not count for max_skipped


def test_a_list_that_is_not_there(content: dict[str, bytes], tmp_path: Path) -> None:
    world = World(tmp_path, mirror(tmp_path / "mirror", content), exclude_lists=["dataset/metadata/other.txt"])
    assert "has no dataset/metadata/other.txt, which exclude_lists names" in world.fail("volume_index", "train")


def test_volumes_in_another_folder_are_found(content: dict[str, bytes], tmp_path: Path) -> None:
    moved = {path.replace("/train_fixed/", "/train/"): data for path, data in content.items()}
    text = World(tmp_path, mirror(tmp_path / "mirror", moved)).fail("volume_index", "train")
    assert "nothing lies in dataset/train_fixed (but 5 in dataset/train, 2 in dataset/valid_fixed: set folder)" in text
    assert "× absent: listed in the tables" in text


def test_raw_values_are_left_out_with_the_setting_that_reads_them(tmp_path: Path) -> None:
    keys = ("valid_1_a_1", "valid_2_a_1")
    content = dict(files({"valid": keys}, shape=(12, 11, 10), spacing=SPACING))
    path = next(path for path in content if keys[0] in path)
    raw = chest((12, 11, 10), 0) + 1024
    content[path] = nifti(raw, SPACING)
    table = "dataset/metadata/validation_metadata.csv"
    content[table] = content[table].replace(b",1,0,", b",1,-1024,")
    split = World(tmp_path, mirror(tmp_path / "mirror", content)).all("valid")
    assert split.study_ids == [keys[1]]
    assert "not in HU: no voxel lies below -900 HU" in split.manifest["skipped"][0]["reason"]


def test_hu_that_would_be_scaled_again_are_left_out_with_the_setting_that_does_not(tmp_path: Path) -> None:
    keys = ("valid_1_a_1", "valid_2_a_1")
    content = dict(files({"valid": keys}, shape=(12, 11, 10), spacing=SPACING))
    path = next(path for path in content if keys[0] in path)
    content[path] = nifti(chest((12, 11, 10), 0) + 1024, SPACING)
    table = "dataset/metadata/validation_metadata.csv"
    content[table] = content[table].replace(b",1,0,", b",1,-1024,")
    split = World(tmp_path, mirror(tmp_path / "mirror", content), rescale="csv").all("valid")
    assert split.study_ids == [keys[0]]
    assert "its values were HU before" in split.manifest["skipped"][0]["reason"]


@pytest.mark.parametrize(("count", "sizes"), [(7, [4, 3]), (8, [4, 4]), (9, [4, 4, 1])])
def test_counts_of_a_split_around_whole_shards(tmp_path: Path, count: int, sizes: list[int]) -> None:
    keys = tuple(f"valid_{i}_a_1" for i in range(1, count + 1))
    content = dict(files({"valid": keys}, shape=(12, 11, 10), spacing=SPACING))
    world = World(tmp_path, mirror(tmp_path / "mirror", content), samples_per_shard=4)
    split = world.all("valid")
    assert world.partitions("valid") == [f"valid-{i:06d}" for i in range(len(sizes))]
    assert [entry["num_samples"] for entry in split.manifest["shards"]] == sizes
    assert (split.manifest["total_samples"], split.manifest["total_shards"]) == (count, len(sizes))
    assert split.study_ids == list(keys)


def test_more_shards_than_dagster_handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgassets.commit.names.MOST_PARTITIONS", 2)
    keys = tuple(f"valid_{i}_a_1" for i in range(1, 7))
    content = dict(files({"valid": keys}, shape=(12, 11, 10), spacing=SPACING))
    world = World(tmp_path, mirror(tmp_path / "mirror", content), samples_per_shard=2)
    assert "would have 3 partitions, and Dagster handles up to 2" in world.fail("volume_index", "valid")
    assert world.partitions("valid") == []


def test_tables_that_disagree_are_listed(content: dict[str, bytes], tmp_path: Path) -> None:
    content = dict(content)
    labels = "dataset/multi_abnormality_labels/train_predicted_labels.csv"
    lines = content[labels].decode("utf-8-sig").splitlines()
    flipped = lines[2].replace(",0", ",x", 1).replace(",1", ",0").replace(",x", ",1")
    content[labels] = "\n".join([lines[0], *lines[2:], flipped]).encode()
    world = World(tmp_path, mirror(tmp_path / "mirror", content))
    world.make("volume_index", "train")
    report = json.loads((tmp_path / "store/ct/volume_index/train/report.json").read_text())
    assert report["rows_contradicted"] == ["train_1_a_2"]
    assert "train_1_a_1" in report["present_but_unlisted"]


def test_every_file_and_row_is_accounted_for(content: dict[str, bytes], tmp_path: Path) -> None:
    folder, gone = next(path for path in content if path.endswith("train_1_a_1.nii.gz")).rsplit("/", 1)
    content = dict(content) | {f"{folder}/notes.txt": b"hello", f"{folder}/again/{gone}": content[f"{folder}/{gone}"]}
    lost = next(path for path in content if path.endswith("train_1_a_2.nii.gz"))
    world = World(tmp_path, mirror(tmp_path / "mirror", {k: v for k, v in content.items() if k != lost}))
    world.make("volume_index", "train")
    facts = json.loads((tmp_path / "store/ct/volume_index/train/.imgassets.json").read_text())["facts"]
    absent = json.loads((tmp_path / "store/ct/volume_index/train/report.json").read_text())["listed_but_absent"]
    passed = {reason: of["count"] for reason, of in facts["passed_over"].items()}
    assert passed == {"another file of that name": 1, "no volume": 1}
    files = sum(path.startswith("dataset/train_fixed/") for path in content) - 1
    assert facts["walked"] == files + len(absent) == facts["rows"] + 2
    assert "train_1_a_2" in absent


@pytest.mark.parametrize("said", ["nan", "", "None", "Not given", "not given. nan", " - "])
def test_reports_that_say_nothing_are_counted(content: dict[str, bytes], tmp_path: Path, said: str) -> None:
    path = "dataset/radiology_text_reports/train_reports.csv"
    rows = list(csv.DictReader(io.StringIO(content[path].decode("utf-8-sig"))))
    (row,) = (row for row in rows if row["VolumeName"].startswith("train_1_a_2."))
    row |= {"Findings_EN": said, "Impressions_EN": "Not given."}
    with io.StringIO(newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        changed = {**content, path: text.getvalue().encode()}
    world = World(tmp_path, mirror(tmp_path / "mirror", changed))
    assert world.make("volume_index", "train")["without_report"] == 1
    report = json.loads((tmp_path / "store/ct/volume_index/train/report.json").read_text())
    assert report["without_report"] == ["train_1_a_2"]


def test_previews_have_no_report_unless_asked_for(content: dict[str, bytes], tmp_path: Path) -> None:
    world = World(tmp_path, mirror(tmp_path / "mirror", content))
    world.make("volume_index", "valid")
    assert "Trachea" not in repr(world.make("shards", "valid-000000"))


def test_wrong_table_is_one_line(content: dict[str, bytes], tmp_path: Path) -> None:
    content = dict(content)
    content["dataset/multi_abnormality_labels/train_predicted_labels.csv"] = b"VolumeName,Cats\nx,1\n"
    text = World(tmp_path, mirror(tmp_path / "mirror", content)).fail("volume_index", "train")
    assert "has no column 'Medical material'" in text


def test_an_existing_webdataset_of_raw_volumes_is_a_source(content: dict[str, bytes], tmp_path: Path) -> None:
    rows = World(tmp_path / "hub", mirror(tmp_path / "mirror", content)).all()
    (tmp_path / "tars").mkdir()
    for number, key in enumerate(rows.study_ids):
        data = next(data for path, data in content.items() if path.endswith(f"/{key}.nii.gz"))
        _, report, labels = rows[number]
        members: dict[str, bytes] = {"nii.gz": data, "txt": report.encode(), "cls": labels.astype("<f4").tobytes()}
        if number == 1:  # as .npz, with everything inside
            (tmp_path / "v.nii.gz").write_bytes(data)
            arrays = io.BytesIO()
            image = nibabel.load(tmp_path / "v.nii.gz").get_fdata().astype(np.float16)
            spacing = SPACING[::-1]
            np.savez(arrays, image=image, spacing=spacing, labels=labels.astype(np.int64), findings=np.array(report))
            members = {"npz": arrays.getvalue()}
        if number == 2:  # as bare voxels that its .json describes
            (tmp_path / "v.nii.gz").write_bytes(data)
            image = nibabel.load(tmp_path / "v.nii.gz").get_fdata().astype("<i2")
            about = {"shape": image.shape, "dtype": "int16", "spacing": SPACING, "labels": labels.astype(int).tolist()}
            members = {"bin": image.tobytes(), "json": json.dumps(about).encode(), "txt": report.encode()}
        with tarfile.open(tmp_path / f"tars/raw-train-{number}.tar", "w") as archive:
            for extension, member in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(member)
                archive.addfile(info, io.BytesIO(member))
    world = World(tmp_path / "wds", str(tmp_path / "tars/raw-{split}-*.tar"), source="webdataset")
    split = world.all()
    assert split.study_ids == rows.study_ids
    for found, expected in zip(split, rows, strict=True):
        assert np.abs(found.volume.astype(np.float32) - expected.volume).max() < 2e-3  # float16 of HU in the .npz
        assert found.report == expected.report
        assert found.labels.tolist() == expected.labels.tolist()
    (tmp_path / "tars/raw-train-2.tar").write_bytes((tmp_path / "tars/raw-train-2.tar").read_bytes()[:700])
    assert "no whole tar file" in world.fail("volume_index", "train")


def test_damaged_volumes_are_left_out_with_their_reason(tmp_path: Path) -> None:
    keys = tuple(f"valid_{i}_a_1" for i in range(1, 7))
    content = dict(files({"valid": keys}, shape=SHAPE, spacing=SPACING))
    paths = {key: next(path for path in content if path.endswith(f"/{key}.nii.gz")) for key in keys}
    content[paths[keys[0]]] = content[paths[keys[0]]][:-9]
    content[paths[keys[1]]] = b"<html>busy</html>"
    content[paths[keys[2]]] = nifti(chest(SHAPE, 1) - np.int16(8192), SPACING)
    content[paths[keys[3]]] = nifti(chest((30, 28, 20), 2), (3.0, 3.5, 4.5))
    world = World(tmp_path, mirror(tmp_path / "mirror", content), samples_per_shard=3)
    world.make("volume_index", "valid")
    assert "None of its volumes can be used" in world.fail("shards", "valid-000000")
    world.make("volume_index", "valid", {"samples_per_shard": 6})
    world.make("shards", "valid-000000")
    world.make("manifest", "valid")
    split = world.split("valid")
    reasons = {entry["key"]: entry["reason"] for entry in split.manifest["skipped"]}
    assert split.study_ids == list(keys[3:])
    assert "unreadable" in reasons[keys[0]]
    assert "a web page that was saved in its place" in reasons[keys[1]]
    assert "implausible" in reasons[keys[2]]
    (note,) = split.manifest["noted"]
    assert note["key"] == keys[3]
    assert "differ" in note["note"]


@pytest.mark.parametrize("members", ["npy", "ctclip"])
def test_members_of_other_names_hold_the_same(content: dict[str, bytes], tmp_path: Path, members: str) -> None:
    repository = mirror(tmp_path / "hub", content)
    usual = World(tmp_path / "usual", repository).all("valid")
    world = World(tmp_path / "other", repository, members=members)
    found = world.all("valid")
    assert found.study_ids == usual.study_ids
    for mine, theirs in zip(found, usual, strict=True):
        assert np.array_equal(mine.volume, theirs.volume)
        assert np.array_equal(mine.labels, theirs.labels)
        assert mine.report == theirs.report
    assert found.manifest["num_shards"] == len(found.shards)
    assert found.manifest["total_size_mb"] == sum(shard.size_bytes for shard in found.shards) / 2**20
    assert {"volume_shape", "volume_dtype"} <= found.document(0).keys()
    assert "unchanged" in world.make("shards", world.partitions("valid")[0])["state"]
    if members == "npy":
        world.make("card", "valid")
        card = (world.folder / "store/ct/shards/valid/README.md").read_text()
        head = json.loads(card.split("---\n")[1])
        assert head["configs"][0]["data_files"] == [{"split": "valid", "path": "*.tar"}]
        assert "\n17. Interlobular septal thickening\n" in card
    else:
        assert "card" not in {key.path[-1] for key in world.definitions.resolve_all_asset_keys()}

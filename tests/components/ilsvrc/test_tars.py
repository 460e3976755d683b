"""The graph of a small release: shards, checks, runs that fail in the middle, two processes, real TensorFlow."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pytest

from imgassets.classes import imagenet_classes
from imgassets.commit import Vault
from imgassets.components.ilsvrc.checks import records_sound
from imgassets.components.ilsvrc.tars import IlsvrcTars, run_size
from imgassets.environment import Storage
from imgassets.errors import BadInput, StoreError
from imgassets.formats.tf_example import image_example, parse
from imgassets.formats.tfds import FILES
from imgassets.formats.tfrecord import TFRecordFile, write
from imgassets.io.artifacts import Artifacts
from imgassets.io.index import IndexIOManager
from imgassets.io.tfrecords import TFRecordsIOManager
from imgassets.operations.view import view
from imgassets.planning.graph import Asset, Graph
from imgassets.planning.prospects import Prospects
from imgassets.projects import PACKAGE
from imgassets.sample_data import ilsvrc2012
from imgassets.sources import ilsvrc
from imgassets.sources.ilsvrc_index import Ilsvrc
from imgassets.sources.nested_tar import Tape
from imgassets.sources.sharding import chunk, shuffled
from imgassets.stores import open_store
from imgassets.stores.registry import DEFAULT
from tests.components.building import built
from tests.pictures import jpeg
from tests.tars import tar
from tests.tensorflow_python import MISSING, tensorflow_python

SHARDS = {"train": 8, "validation": 4}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    ilsvrc2012.write(folder)
    return folder


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Release:
    """The graph of one dataset on its own vault."""

    def __init__(self, raw: Path, root: Path, instance: dg.DagsterInstance, **attributes: Any) -> None:
        self.storage = Storage(raw=str(raw), store=str(root / "store"), state=str(root / "state"))
        self.dataset = IlsvrcTars(name="ilsvrc2012", **{"shards": SHARDS} | attributes)
        self.instance = instance
        self.definitions = built(self.dataset, self.storage)

    @property
    def keys(self) -> list[str]:
        return [key for keys in self.dataset.stems.values() for key in keys]

    @property
    def folder(self) -> Path:
        return Path(self.storage.store) / "ilsvrc2012" / "tfrecords"

    def run(self, asset: str, first: str, last: str | None = None, **config: Any) -> dg.ExecuteInProcessResult:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(["ilsvrc2012", asset])],
            partition_key=None if last else first,
            tags=tags if last else None,
            run_config={"ops": {f"ilsvrc2012__{asset}": {"config": config}}},
            raise_on_error=False,
        )

    def index(self) -> None:
        for split in self.dataset.splits:
            assert self.run("tar_index", split).success

    def all_shards(self, **config: Any) -> dg.ExecuteInProcessResult:
        return self.run("tfrecords", self.keys[0], self.keys[-1], **config)

    def digests(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.folder.glob("[tv]*")}

    def checks(self, result: dg.ExecuteInProcessResult) -> dict[str, list[bool]]:
        found: dict[str, list[bool]] = {}
        for evaluation in result.get_asset_check_evaluations():
            if evaluation.partition is not None or evaluation.check_name == "every_image_once":
                found.setdefault(evaluation.check_name, []).append(evaluation.passed)
        return found


def failure(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    return next(event.step_failure_data.error_display_string for event in result.all_events if event.is_step_failure)


@pytest.fixture(scope="module")
def finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    with dg.DagsterInstance.ephemeral() as instance:
        release = Release(raw, tmp_path_factory.mktemp("finished"), instance)
        release.index()
        result = release.all_shards()
        assert result.success
        assert release.checks(result) == {"records_sound": [True] * 12, "every_image_once": [True]}
        yield release


def test_shards_hold_the_chunks_of_the_order(finished: Release) -> None:
    for split, count in SHARDS.items():
        report = Path(finished.storage.store) / "ilsvrc2012" / "tar_index" / split / "report.json"
        images = json.loads(report.read_text())["images"]
        names = [
            [image_example(parse(record)).filename for record in TFRecordFile(finished.folder / key)]
            for key in finished.dataset.stems[split]
        ]
        assert [len(part) for part in names] == [len(chunk(images, count, k)) for k in range(count)]
        flat = [name for part in names for name in part]
        ordered = sorted(flat)
        assert flat == [ordered[i] for i in shuffled(images, 0 if split == "train" else None)]
        assert (flat == ordered) == (split == "validation")


def test_the_manifest_lists_what_was_converted(finished: Release) -> None:
    exceptions = [
        item["name"]
        for path in (finished.folder / ".imgassets").glob("*.json")
        for item in json.loads(path.read_text())["exceptions"]
    ]
    assert len(exceptions) == 6  # three CMYK, three PNG in 114 images
    assert len(set(exceptions)) == 6


def test_an_unchanged_rerun_touches_nothing(finished: Release) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(finished.storage.store).rglob("*")}
    result = finished.all_shards()
    assert result.success
    assert {path: path.stat().st_mtime_ns for path in Path(finished.storage.store).rglob("*")} == before
    states = {
        event.metadata["state"].value for event in result.asset_materializations_for_node("ilsvrc2012__tfrecords")
    }
    assert states == {"unchanged, skipped"}


def test_bytes_do_not_depend_on_how_they_were_made(
    finished: Release, raw: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Two processes at a time, one of which dies half-way and is taken up again; ranges that straddle the splits."""
    release = Release(raw, tmp_path, instance)
    release.index()
    halves = [release.keys[:6], release.keys[6:]]

    def work(half: list[str], victim: str | None) -> None:
        os.close(2)
        if victim:
            commit = Vault.commit

            def dying(self: Any, location: Any, *args: Any, **settings: Any) -> Any:
                if location.path.name == victim:
                    os._exit(9)
                return commit(self, location, *args, **settings)

            Vault.commit = dying  # type: ignore[method-assign]
        with dg.DagsterInstance.ephemeral() as own:
            success = Release(raw, tmp_path, own).run("tfrecords", half[0], half[-1]).success
        os._exit(0 if success else 1)

    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=work, args=(half, half[3] if i else None)) for i, half in enumerate(halves)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 9]
    made = {path.name: path.stat().st_mtime_ns for path in release.folder.glob("[tv]*")}
    assert sorted(made) == sorted(halves[0] + halves[1][:3])
    assert release.all_shards().success
    assert release.digests() == finished.digests()
    assert {name: (release.folder / name).stat().st_mtime_ns for name in made} == made


def test_one_shard_alone(finished: Release, raw: Path, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    release = Release(raw, tmp_path, instance)
    release.index()
    result = release.run("tfrecords", "train-00003-of-00008")
    assert result.success
    (event,) = result.asset_materializations_for_node("ilsvrc2012__tfrecords")
    assert {"bytes", "checksum", "dagster/row_count", "contact_sheet", "path"} <= set(event.metadata)
    assert len(event.metadata["contact_sheet"].value) < 70_000
    assert release.digests().items() <= finished.digests().items()
    assert release.checks(result)["every_image_once"] == [False]  # the other eleven are missing
    once = every_image_once(result)
    assert once.severity is dg.AssetCheckSeverity.WARN
    assert once.metadata["missing_shards"].value == 11


def test_one_shard_while_the_other_split_is_not_indexed(
    raw: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    release = Release(raw, tmp_path, instance)
    assert release.run("tar_index", "train").success
    result = release.run("tfrecords", "train-00003-of-00008")
    assert result.success
    once = every_image_once(result)
    assert (once.passed, once.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert once.description == "not yet: train-00000-of-00008 and 11 more are still missing"
    assert "the index of validation" in once.metadata["missing"].value  # type: ignore[operator]
    assert once.metadata["missing_shards"].value == 11


@pytest.mark.parametrize(
    "damaged",
    [
        "tar_index/train/index.parquet",
        "tar_index/train/.imgassets.json",
        "tfrecords/.imgassets/train-00002-of-00008.json",
    ],
)
def test_damage_upstream_is_a_finding_of_the_check_over_all_shards(
    finished: Release, raw: Path, tmp_path: Path, instance: dg.DagsterInstance, damaged: str
) -> None:
    release = Release(raw, tmp_path, instance)
    shutil.copytree(finished.storage.store, release.storage.store)
    path = Path(release.storage.store) / "ilsvrc2012" / damaged
    path.write_bytes(path.read_bytes()[:-8] + b"notmagic")
    result = release.run("tfrecords", "validation-00001-of-00004")
    assert result.success
    once = every_image_once(result)
    assert (once.passed, once.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert path.name in str(once.description)


def every_image_once(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (once,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "every_image_once"]
    return once


@pytest.mark.parametrize("size", [None, (20, 30)])
def test_stores_hold_the_images_of_the_index(
    finished: Release, raw: Path, tmp_path: Path, instance: dg.DagsterInstance, size: tuple[int, int] | None
) -> None:
    release = Release(raw, tmp_path, instance, size=size)
    release.index()
    records = open_store(finished.folder, split="validation")
    names = [records.name(i) for i in range(len(records))]
    for name in DEFAULT:
        result = release.run(f"{name}_store", "validation")
        assert result.success
        store = open_store(Path(release.storage.store) / "ilsvrc2012" / f"{name}_store" / "validation")
        assert [store.name(i) for i in range(len(store))] == names
        assert store.labels.tolist() == records.labels.tolist()
        assert store.class_to_idx == records.class_to_idx
        if size is None:  # the archive's own bytes, where the records' were not converted
            assert sum(bytes(store.raw(i)) == bytes(records.raw(i)) for i in range(len(store))) == len(store) - 2
        else:
            assert tuple(store[0][0].shape) == (3, 20, 30)
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())


def test_a_store_of_another_archive_than_the_index_is_refused(
    raw: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    mine = copied(raw, tmp_path)
    release = Release(tmp_path / "raw", tmp_path, instance)
    release.index()
    with (mine / ilsvrc.ARCHIVES["validation"].file).open("ab") as archive:
        archive.write(bytes(512))
    text = failure(release.run("memmap_store", "validation"))
    assert "is not the file that ilsvrc2012/tar_index/validation was made from" in text


def copied(raw: Path, tmp_path: Path) -> Path:
    mine = tmp_path / "raw" / "ilsvrc2012"
    mine.mkdir(parents=True)
    for file in (raw / "ilsvrc2012").iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    return mine


def test_what_a_shard_costs_is_told_beforehand(finished: Release) -> None:
    (definition,) = [asset for asset in finished.definitions.assets or () if asset.key.path[-1] == "tfrecords"]  # type: ignore[union-attr]
    manager = TFRecordsIOManager(storage=finished.storage)
    records = Asset(definition.key, definition.partitions_def, 1, manager, definition)  # type: ignore[union-attr, arg-type]
    index = IndexIOManager(storage=finished.storage)
    key = dg.AssetKey(["ilsvrc2012", "tar_index"])
    inputs = {"tar_index": Artifacts(list(SHARDS), lambda split: index.artifact(key, split))}
    builds = records.builds({"storage": finished.storage}, inputs, {})
    for name in finished.keys:
        estimate = builds.build(name).estimate
        assert estimate is not None
        size = (finished.folder / name).stat().st_size
        assert estimate().rows == len(TFRecordFile(finished.folder / name))
        assert abs(estimate().write - size) < 0.25 * size  # converted images grow, and these are small


def test_asking_for_the_recipe_of_an_index_scans_nothing(
    raw: Path, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Release(raw, tmp_path, instance)
    (definition,) = [asset for asset in release.definitions.assets or () if asset.key.path[-1] == "tar_index"]  # type: ignore[union-attr]
    manager = IndexIOManager(storage=release.storage)
    asset = Asset(definition.key, definition.partitions_def, 1, manager, definition)  # type: ignore[union-attr, arg-type]
    monkeypatch.setattr(Ilsvrc, "index", lambda *args, **settings: pytest.fail("scanned"))
    prospect = Prospects(Graph({asset.key: asset}, {"storage": release.storage}), instance).of(asset, "validation")
    assert any(path.suffix == ".tar" for path in prospect.unread)


def test_a_shard_without_its_index_says_what_to_do(raw: Path, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    text = failure(Release(raw, tmp_path, instance).run("tfrecords", "train-00000-of-00008"))
    assert "ilsvrc2012/tar_index has no partition train yet" in text
    assert "`imgassets backfill ilsvrc2012/tar_index --partitions train`" in text


def test_another_seed_is_another_order_and_noticed_when_mixed(
    raw: Path, tmp_path: Path, finished: Release, instance: dg.DagsterInstance
) -> None:
    release = Release(raw, tmp_path, instance)
    release.index()
    assert release.all_shards(seed=7).success
    digests, other = release.digests(), finished.digests()
    assert all((digests[name] == other[name]) == name.startswith("validation") for name in digests)
    assert every_image_once(release.run("tfrecords", "train-00001-of-00008")).passed  # it has the seed it had
    result = release.run("tfrecords", "train-00001-of-00008", reset=["seed"])
    once = every_image_once(result)
    assert not once.passed
    assert once.severity is dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda images: images, ""),
        (lambda images: images[:-1], "other images than the 8"),
        (lambda images: [*images, images[0]], "occurs 2 times"),
        (lambda images: [images[1], images[0], *images[2:]], "other images than the 8"),
        (lambda images: [replace(images[0], width=images[0].width + 1), *images[1:]], "the record says"),
        (lambda images: [replace(images[0], encoded=b"<html>"), *images[1:]], "is no image"),
        (lambda images: [replace(images[0], encoded=jpeg(1, mode="CMYK")), *images[1:]], "is a cmyk jpg"),
        (lambda images: [replace(image, synset="n01440764") for image in images], "has the labels"),
    ],
)
def test_a_wrong_shard_turns_its_check_red(finished: Release, tmp_path: Path, change: Any, text: str) -> None:
    manager = TFRecordsIOManager(storage=finished.storage)
    sound = manager.artifact(dg.AssetKey(["ilsvrc2012", "tfrecords"]), "validation-00001-of-00004")
    images = [image_example(parse(record)) for record in sound.open()]
    with (tmp_path / "shard").open("wb") as sink:
        write(sink, (image.parts() for image in change(images)))
    wrong = replace(sound, opener=lambda _: TFRecordFile(tmp_path / "shard"))
    finding = records_sound(wrong)
    assert finding.passed == (not text)
    assert text in finding.text


def test_a_flipped_bit_turns_the_check_red(finished: Release, tmp_path: Path) -> None:
    manager = TFRecordsIOManager(storage=finished.storage)
    sound = manager.artifact(dg.AssetKey(["ilsvrc2012", "tfrecords"]), "validation-00001-of-00004")
    data = bytearray(sound.location.path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "shard").write_bytes(data)
    with pytest.raises(StoreError, match="fails its CRC"):
        records_sound(replace(sound, opener=lambda _: TFRecordFile(tmp_path / "shard")))


def test_a_changed_archive_is_noticed(raw: Path, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    mine = copied(raw, tmp_path)
    release = Release(tmp_path / "raw", tmp_path, instance, splits=["validation"], shards={"validation": 2})
    release.index()
    archive = mine / ilsvrc.ARCHIVES["validation"].file
    data = bytearray(archive.read_bytes())
    data[2000] ^= 1
    archive.write_bytes(data)
    text = failure(release.run("tfrecords", *release.keys))
    assert "holds other bytes at ILSVRC2012_val_00000001.JPEG" in text
    assert "materialize the tar index again" in text
    assert not release.digests().keys() & {"validation-00000-of-00002"}


def test_missing_synsets_are_a_warning_that_names_them(raw: Path, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    release = Release(raw, tmp_path, instance)
    evaluations = release.run("tar_index", "train").get_asset_check_evaluations()
    found = next(evaluation for evaluation in evaluations if evaluation.check_name == "all_synsets")
    with Tape(release.dataset.source(release.storage).archive("train")) as tape:
        present = {synset for synset, _ in ilsvrc.train_groups(tape)}
    missing = [synset for synset in imagenet_classes().synsets if synset not in present]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.metadata["missing"].value == missing[:20]
    assert found.description
    assert found.description.startswith(f"{len(present)} of 1000 synsets")


def test_a_damaged_image_leaves_its_shard_one_short(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    folder = tmp_path / "raw" / "ilsvrc2012"
    folder.mkdir(parents=True)
    images = [(f"ILSVRC2012_val_{i:08d}.JPEG", jpeg(i) if i != 2 else b"<html>") for i in range(1, 6)]
    (folder / ilsvrc.ARCHIVES["validation"].file).write_bytes(tar(images))
    (folder / ilsvrc.SYNSET_LABELS).write_text("n01440764\n" * 5)
    release = Release(tmp_path / "raw", tmp_path, instance, splits=["validation"], shards={"validation": 7})
    result = release.run("tar_index", "validation")
    decoding = next(e for e in result.get_asset_check_evaluations() if e.check_name == "images_decode")
    assert not decoding.passed
    assert "ILSVRC2012_val_00000002.JPEG is no image" in str(decoding.metadata["listed"].value)
    result = release.all_shards()
    assert release.checks(result) == {"records_sound": [True] * 7, "every_image_once": [True]}
    sizes = [len(TFRecordFile(release.folder / key)) for key in release.keys]
    assert sizes == [1, 0, 1, 1, 1, 0, 0]
    assert (release.folder / release.keys[-1]).stat().st_size == 0
    manifest = json.loads((release.folder / ".imgassets" / f"{release.keys[1]}.json").read_text())
    assert manifest["exceptions"][0]["name"] == "ILSVRC2012_val_00000002.JPEG"


def test_shard_counts_come_from_the_yaml_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IlsvrcTars(name="x").shard_counts == {"train": 1024, "validation": 128}
    monkeypatch.setenv("IMGASSETS_TFRECORD_SHARDS", "16,4")
    assert IlsvrcTars(name="x").shard_counts == {"train": 16, "validation": 4}
    assert IlsvrcTars(name="x", shards={"train": 3, "validation": 2}).shard_counts == {"train": 3, "validation": 2}
    assert IlsvrcTars(name="x", splits=["validation"]).stems == {
        "validation": [f"validation-0000{k}-of-00004" for k in range(4)]
    }
    for bad in ("16", "a,b", "1,2,3"):
        monkeypatch.setenv("IMGASSETS_TFRECORD_SHARDS", bad)
        with pytest.raises(BadInput, match="IMGASSETS_TFRECORD_SHARDS is"):
            IlsvrcTars(name="x").shard_counts  # noqa: B018
    with pytest.raises(BadInput, match="train has 0 shards"):
        IlsvrcTars(name="x", shards={"train": 0, "validation": 2}).shard_counts  # noqa: B018


def test_more_shards_than_dagster_handles(raw: Path, tmp_path: Path) -> None:
    context: Any = SimpleNamespace(path=PACKAGE)
    told = "ilsvrc2012/tfrecords would have 5,001 partitions, and Dagster handles up to 5,000"
    with pytest.raises(BadInput, match=told):
        IlsvrcTars("ilsvrc2012", shards={"train": 5000, "validation": 1}).build_defs(context)
    assert IlsvrcTars("ilsvrc2012", shards={"train": 4999, "validation": 1}).build_defs(context)


@pytest.mark.parametrize("train", [1, 7, 16, 100, 128, 1000, 1024, 2048])
def test_no_run_of_a_backfill_holds_shards_of_both_splits(train: int) -> None:
    size = run_size({"train": train, "validation": 128})
    assert 1 <= size <= 128
    assert train % size == 0
    dataset = IlsvrcTars(name="x", shards={"train": train, "validation": 128})
    keys = [key for stems in dataset.stems.values() for key in stems]
    for missing in (keys, keys[3:], keys[train // 2 :], keys[1::2], keys[-129:]):
        asset: Any = SimpleNamespace(keys=lambda _: keys, run_size=size)
        assert all(len({key[0] for key in run}) == 1 for run in Asset.runs(asset, missing, instance=None))  # type: ignore[arg-type]
    assert run_size({"train": 1024, "validation": 128}) == 128
    assert run_size({"validation": 1009}) == 128


def clean() -> dict[str, str]:
    """The environment without our own packages: TensorFlow's Python has others."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


READ = """
import sys, os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
import json
import tensorflow as tf
features = {f"image/{k}": tf.io.FixedLenFeature([], tf.int64) for k in ("height", "width", "channels", "class/label")}
texts = ("colorspace", "class/synset", "format", "filename", "encoded")
features |= {f"image/{k}": tf.io.FixedLenFeature([], tf.string) for k in texts}
rows = []
dataset = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(sys.argv[1] + "/[tv]*-of-*")))
for x in dataset.map(lambda record: tf.io.parse_single_example(record, features)):
    shape = tf.io.decode_jpeg(x["image/encoded"], channels=3).shape.as_list()
    assert shape == [x["image/height"], x["image/width"], x["image/channels"]], x["image/filename"]
    assert x["image/colorspace"] == b"RGB" and x["image/format"] == b"JPEG"
    rows.append([x[f"image/{k}"].numpy() for k in ("filename", "class/synset", "class/label", "encoded")])
rows = [[name.decode(), synset.decode(), int(label), len(encoded)] for name, synset, label, encoded in rows]
print(json.dumps(rows))
"""


def test_tensorflow_reads_every_record_of_the_guides_folder(finished: Release, tmp_path: Path) -> None:
    python = tensorflow_python()
    if python is None:
        pytest.skip(MISSING)
    manager = TFRecordsIOManager(storage=finished.storage)
    (definition,) = [asset for asset in finished.definitions.assets or () if asset.key.path[-1] == "tfrecords"]  # type: ignore[union-attr]
    records = Asset(definition.key, definition.partitions_def, 1, manager, definition)  # type: ignore[union-attr, arg-type]
    links = view(records, finished.keys, tmp_path / "tf_records")
    assert [link.relative_to(tmp_path / "tf_records").as_posix() for link in links] == finished.keys
    readme = (Path(__file__).parents[3] / "imgassets" / "defs" / "ilsvrc2012" / "README.md").read_text()
    snippet = readme.partition("Or read them with `tf.data`")[2].partition("```python\n")[2].partition("```")[0]
    script = f"{READ}\n{snippet}\nassert sum(int(y) >= 0 and x.shape[2] == 3 for x, y in dataset) == 84, 'page'"
    run = subprocess.run(
        [python, "-c", script, "tf_records"], cwd=tmp_path, check=True, capture_output=True, text=True, env=clean()
    )
    found = {name: (synset, label, nbytes) for name, synset, label, nbytes in json.loads(run.stdout)}
    wanted = {}
    for split in SHARDS:
        table = (
            IndexIOManager(storage=finished.storage).artifact(dg.AssetKey(["ilsvrc2012", "tar_index"]), split).open()
        )
        wanted |= {row["name"]: row for row in table.table().to_pylist()}
    assert found.keys() == wanted.keys()
    for name, (synset, label, nbytes) in found.items():
        row = wanted[name]
        assert (synset, label) == (row["synset"], row["class_id"] + 1)
        if row["format"] == "JPEG" and row["colour"] != "cmyk":
            assert nbytes == row["size"]


TFDS = """
import json, sys, tensorflow_datasets as tfds
builder, found = tfds.builder_from_directory(sys.argv[1]), {}
names = builder.info.features["image"]["class"]["label"].names
for split in builder.info.splits:
    rows = list(tfds.as_numpy(builder.as_dataset(split=split)))
    assert len(rows) == builder.info.splits[split].num_examples
    for image in (row["image"] for row in rows):
        assert image["encoded"].shape == (image["height"], image["width"], 3)
        assert names[image["class"]["label"]].encode() == image["class"]["synset"]
        label = int(image["class"]["label"])
        found[image["filename"].decode()] = [split, label, image["class"]["synset"].decode(), image["encoded"].tolist()]
print(json.dumps([names[:2], found]))
"""


@pytest.mark.parametrize("labels", ["full", "present"])
def test_tensorflow_datasets_reads_the_shards_as_they_are(
    raw: Path, tmp_path: Path, instance: dg.DagsterInstance, labels: str
) -> None:
    python = tensorflow_python()
    if python is None or subprocess.run([python, "-c", "import tensorflow_datasets"], capture_output=True).returncode:
        assert not os.environ.get("CI"), MISSING
        pytest.skip(MISSING)
    release = Release(raw, tmp_path, instance, tfds=True, labels=labels, shards={"train": 60, "validation": 2})
    release.index()
    assert release.all_shards().success
    for file in FILES:
        assert release.run("tfds", file).success
    assert any(path.stat().st_size == 0 for path in release.folder.glob("train-*"))  # shards of nothing are allowed
    run = subprocess.run(
        [python, "-c", TFDS, str(release.folder)], capture_output=True, text=True, env=clean(), timeout=300
    )
    assert run.returncode == 0, run.stderr
    names, found = json.loads(run.stdout)
    assert names[0] == "background"
    stores = {split: open_store(release.folder, split=split) for split in release.dataset.splits}
    assert len(found) == sum(map(len, stores.values()))
    for split, store in stores.items():
        for k in range(0, len(store), 5):
            said, label, synset, pixels = found[store.name(k)]
            assert said == split
            assert store.classes[store[k][1]] == synset
            assert labels == "present" or label == store[k][1] + 1
            assert abs(np.array(pixels) - store[k][0].permute(1, 2, 0).numpy().astype(int)).mean() < 2

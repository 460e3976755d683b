"""An image folder declared in YAML: its stores, their checks, its mistakes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import torch  # noqa: TID253
import yaml
from dagster.components.testing.utils import create_defs_folder_sandbox

from imgassets.classes import imagenet_classes
from imgassets.components import ImageFolder
from imgassets.components.store_assets import StoreSettings
from imgassets.environment import Storage
from imgassets.stores import open_store
from imgassets.stores.registry import DEFAULT
from imgassets.testing.making import dense, encoded, folder, picture, write
from tests.components.building import built
from tests.components.imagenet import QUIET, Result


class Stores:
    """The graph of one image folder and runs of it."""

    def __init__(self, place: Path, instance: dg.DagsterInstance, **attributes: Any) -> None:
        self.dataset = ImageFolder(name="some", **attributes)
        self.instance = instance
        self.storage = Storage(raw=str(place / "raw"), store=str(place / "store"), state=str(place / "state"))
        self.defs = built(self.dataset, self.storage)

    def run(self, partition: str = "all", **config: Any) -> Result:
        """Materialize all stores of a partition."""
        ops = {f"some__{f}_store": {"config": config} for f in self.dataset.stores}
        return Result(
            self.defs.resolve_job_def("some_stores").execute_in_process(
                instance=self.instance,
                partition_key=partition,
                run_config=QUIET | {"ops": ops},
                raise_on_error=False,
            )
        )

    def checks(self, partition: str = "all") -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
        """Evaluate all checks of a partition, by store and name."""
        found = {}
        for format_ in self.dataset.stores:
            key = dg.AssetKey(["some", f"{format_}_store"])
            job = dg.define_asset_job("checks", dg.AssetSelection.checks_for_assets(key))
            run = (
                dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
                .resolve_job_def("checks")
                .execute_in_process(
                    instance=self.instance,
                    tags={"dagster/partition": partition},
                    run_config=QUIET,
                    raise_on_error=False,
                )
            )
            found |= {(format_, check.check_name): check for check in run.get_asset_check_evaluations()}
        return found

    def path(self, format_: str, partition: str = "all") -> Path:
        return Path(self.storage.store) / "some" / f"{format_}_store" / partition


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_all_formats_of_a_folder(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    root = folder(tmp_path / "raw" / "folders" / "some")
    stores = Stores(tmp_path, instance)
    assert stores.run().success
    opened = [open_store(stores.path(f)) for f in DEFAULT]
    for k in range(len(opened[0])):
        for store in opened:
            assert bytes(store.raw(k)) == (root / store.name(k)).read_bytes()
    found = stores.checks()
    assert len(found) == 15
    assert all(check.passed for check in found.values()), [c.description for c in found.values() if not c.passed]
    again = stores.run()
    assert {data["state"] for data in again.metadata.values()} == {"unchanged, skipped"}
    write(root / "class1" / "new.jpg", encoded(picture(9, 9, 9)))
    assert stores.run().success
    assert len(open_store(stores.path("tar"))) == len(opened[0]) + 1


def test_one_wrong_pixel_is_named(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    folder(tmp_path / "raw" / "folders" / "some")
    stores = Stores(tmp_path, instance, size=(8, 6), stores=["memmap", "hdf5", "ipc"])
    assert stores.run().success
    assert all(check.passed for check in stores.checks().values())
    path = stores.path("memmap") / "shard-000000.image.npy"
    images = np.load(path, mmap_mode="r+", allow_pickle=False)
    images[13, 5, 4, 1] ^= 1
    images.flush()
    name = open_store(stores.path("memmap")).name(13)
    found = stores.checks()
    findings = {format_: check.passed for (format_, kind), check in found.items() if kind == "same_in_every_format"}
    assert findings == {"memmap": False, "hdf5": False, "ipc": False}
    text = str(found["memmap", "same_in_every_format"].description)
    assert text.startswith(f"memmap and hdf5 differ: image of row 13 ({name}), first at (5, 4, 1): ")
    text = str(found["ipc", "same_in_every_format"].description)
    assert text.startswith(f"ipc and memmap differ: image of row 13 ({name})")
    intact = {format_: check.passed for (format_, kind), check in found.items() if kind == "bytes_verified"}
    assert intact == {"memmap": False, "hdf5": True, "ipc": True}


def test_splits_share_a_class_table(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    for split in ("train", "val"):
        folder(tmp_path / "raw" / "x" / split, 2)
    stores = Stores(tmp_path, instance, splits={"train": "x/train", "val": "x/val"}, stores=["ipc"])
    assert stores.run("val").success
    assert stores.run("train").success
    assert open_store(stores.path("ipc", "val")).class_to_idx == open_store(stores.path("ipc", "train")).class_to_idx


def labels_by_class(store: Any) -> dict[str, int]:
    return {store.name(k).split("/")[0]: int(store[k][1]) for k in range(len(store))}


def test_one_numbering_over_all_splits(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    for name in ("train/cat/1.jpg", "train/dog/1.jpg", "train/fox/1.jpg", "val/cat/1.jpg", "val/fox/1.jpg"):
        write(tmp_path / "raw" / "x" / name, encoded(picture(0, 5, 5)))
    stores = Stores(tmp_path, instance, splits={"train": "x/train", "val": "x/val"}, stores=["ipc"])
    assert stores.run("train").success
    assert stores.run("val").success
    train, val = (open_store(stores.path("ipc", split)) for split in ("train", "val"))
    assert train.class_to_idx == val.class_to_idx == {"cat": 0, "dog": 1, "fox": 2}
    assert labels_by_class(val) == {"cat": 0, "fox": 2}
    write(tmp_path / "raw" / "x" / "train" / "ape" / "1.jpg", encoded(picture(0, 5, 5)))
    assert stores.run("val").metadata["val"]["state"] != "unchanged, skipped"
    assert labels_by_class(open_store(stores.path("ipc", "val"))) == {"cat": 1, "fox": 3}
    shutil.rmtree(tmp_path / "raw" / "x" / "train")
    assert "x/train is no folder" in stores.run("val").failure


@pytest.mark.parametrize(
    ("name", "message"),
    [("val/Cat/1.jpg", "differ only by case"), ("val/test/cat/1.jpg", "x/val holds splits")],
)
def test_splits_that_do_not_fit_together(tmp_path: Path, instance: dg.DagsterInstance, name: str, message: str) -> None:
    for each in ("train/cat/1.jpg", name):
        write(tmp_path / "raw" / "x" / each, encoded(picture(0, 5, 5)))
    stores = Stores(tmp_path, instance, splits={"train": "x/train", "val": "x/val"}, stores=["ipc"])
    assert message in stores.run("train").failure


def test_declared_classes_keep_their_numbers(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    write(tmp_path / "raw" / "folders" / "some" / "cat" / "1.jpg", encoded(picture(0, 5, 5)))
    stores = Stores(tmp_path, instance, classes=["dog", "cat", "ape"], stores=["ipc"])
    assert stores.run().success
    assert open_store(stores.path("ipc")).class_to_idx == {"dog": 0, "cat": 1, "ape": 2}
    other = Stores(tmp_path, instance, classes=["dog", "ape"], stores=["ipc"])
    assert "some/cat is none of the 2 classes" in other.run().failure


@pytest.mark.parametrize(("order", "right"), [("natural", {"c2": 0, "c10": 1}), ("text", {"c10": 0, "c2": 1})])
def test_class_order(tmp_path: Path, instance: dg.DagsterInstance, order: Any, right: dict[str, int]) -> None:
    for name in right:
        write(tmp_path / "raw" / "folders" / "some" / name / "1.jpg", encoded(picture(0, 5, 5)))
    stores = Stores(tmp_path, instance, class_order=order, stores=["ipc"])
    assert stores.run().success
    store = open_store(stores.path("ipc"))
    assert store.class_to_idx == labels_by_class(store) == right


def test_a_file_that_is_neither_a_row_nor_counted_fails_the_check(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    root = folder(tmp_path / "raw" / "folders" / "some")
    write(root / "class2" / "cut.jpg", b"")
    write(root / ".DS_Store", b"")
    stores = Stores(tmp_path, instance, stores=["ipc"], settings=StoreSettings(on_error="skip"))
    assert stores.run().success
    check = stores.checks()["ipc", "all_accounted_for"]
    assert (check.passed, check.description) == (True, "27 files: 23 rows, 1 skipped, 1 hidden, 1 no_image, 1 stray")
    manifest = stores.path("ipc") / ".imgassets.json"
    manifest.write_text(manifest.read_text().replace('"walked": 27', '"walked": 28'))
    check = stores.checks()["ipc", "all_accounted_for"]
    assert not check.passed


def test_imagenet_classes(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    synsets = imagenet_classes().synsets
    for rank in (999, 5):
        write(tmp_path / "raw" / "folders" / "some" / synsets[rank] / "x.jpg", encoded(picture(0, 5, 5)))
    stores = Stores(tmp_path, instance, classes="imagenet", stores=["memmap"])
    assert stores.run().success
    same = Stores(tmp_path, instance, class_order="imagenet", stores=["memmap"])
    assert same.run().metadata["all"]["state"] == "unchanged, skipped"
    assert open_store(stores.path("memmap")).labels.tolist() == [5, 999]


def test_label_images(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    dense(tmp_path / "raw" / "d")
    stores = Stores(tmp_path, instance, root="d/images", labels="d/labels", size=(10, 12))
    assert stores.run().success
    items = [open_store(stores.path(f))[3] for f in DEFAULT]
    assert items[0][0].shape == (3, 10, 12)
    assert items[0][1].shape == (10, 12)
    for image, label in items[1:]:
        assert torch.equal(image, items[0][0])
        assert torch.equal(label, items[0][1])


def test_an_unusable_image_fails_in_one_line_and_leaves_nothing(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    root = folder(tmp_path / "raw" / "folders" / "some")
    write(root / "class2" / "img0.jpg", b"")
    stores = Stores(tmp_path, instance, stores=["tar"])
    result = stores.run()
    assert not result.success
    assert "class2/img0.jpg cannot be used: is empty" in result.failure
    assert len(result.failure) <= 500
    assert "\n" not in result.failure
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").rglob("*"))
    skipping = Stores(tmp_path, instance, stores=["tar"], settings=StoreSettings(on_error="skip"))
    assert skipping.run().metadata["all"]["skipped"] == 1


def test_a_missing_folder(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    result = Stores(tmp_path, instance, stores=["tar"]).run()
    assert "folders/some is no folder" in result.failure


@pytest.mark.parametrize(
    "wrong",
    [
        {"root": "a", "splits": {"x": "b"}},
        {"size": (0, 3)},
        {"mode": "RGBX"},
        {"classes": []},
        {"classes": ["a", "a"]},
        {"classes": ["a"], "class_order": "text"},
        {"classes": "imagenet", "class_order": "text"},
    ],
)
def test_contradictions(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="dataset x"):
        ImageFolder(name="x", **wrong)


# Dagster's own use of it
YAML = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def declared(tmp_path: Path, attributes: dict[str, Any]) -> dg.Definitions:
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(
            component_cls=ImageFolder,
            defs_yaml_contents={"type": "imgassets.components.ImageFolder", "attributes": attributes},
        )
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
            return defs


@YAML
def test_declared_in_yaml(tmp_path: Path) -> None:
    text = """
      {name: caltech256, root: folders/caltech256, stores: [memmap, ipc], size: [224, 224], mode: RGB,
       settings: {images_per_file: 4096, on_error: skip}}
    """
    defs = declared(tmp_path, yaml.safe_load(text))
    keys = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
    assert keys == {"caltech256/memmap_store", "caltech256/ipc_store"}


@YAML
@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"stores": ["memap"]}, "memap"),
        ({"sizes": [3, 4]}, "sizes"),
        ({"size": [3]}, "size"),
        ({"settings": {"on_error": "x"}}, "on_error"),
    ],
)
def test_a_typo_is_reported_with_its_place(tmp_path: Path, wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(Exception) as caught:  # Dagster's own
        declared(tmp_path, {"name": "x", **wrong})
    text, error = "", caught.value
    while error is not None:
        text, error = f"{text}\n{error}", error.__cause__ or error.__context__  # type: ignore[assignment]
    assert re.search(r"defs\.yaml:\d+", text), text
    assert word in text


def test_links_to_elsewhere_are_followed(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    folder(tmp_path / "elsewhere", 2)
    (tmp_path / "raw" / "folders").mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere", tmp_path / "raw" / "folders" / "some")
    stores = Stores(tmp_path, instance, stores=["memmap"])
    assert stores.run().success
    shutil.rmtree(tmp_path / "elsewhere")
    assert len(open_store(stores.path("memmap"))) == 11


@pytest.mark.parametrize("layout", ["huggingface", "guide"])
def test_stores_for_other_programs(tmp_path: Path, instance: dg.DagsterInstance, layout: str) -> None:
    folder(tmp_path / "raw" / "folders" / "some", 2)
    formats = ["memmap", "parquet", "tar"]
    plain = Stores(tmp_path, instance, size=(8, 6), stores=formats)
    assert plain.run().success
    wanted = open_store(plain.path("memmap"))
    settings = StoreSettings(layout=layout, images_per_file=3)  # type: ignore[arg-type]
    stores = Stores(tmp_path, instance, size=(8, 6), stores=formats, settings=settings)
    assert stores.run().success
    for format_ in formats:
        store = open_store(stores.path(format_))
        assert store.class_to_idx == wanted.class_to_idx
        for k in range(len(wanted)):
            assert torch.equal(store[k][0], wanted[k][0])
            assert store[k][1] == wanted[k][1]
        assert (stores.path(format_) / "metadata").exists() == (layout == "guide")
    again = stores.run()
    assert {data["state"] for data in again.metadata.values()} == {"unchanged, skipped"}

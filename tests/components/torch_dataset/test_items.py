"""A torch dataset named in YAML: its stores, what makes them stale, and its mistakes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from imgassets import functions
from imgassets.components import TorchDataset
from imgassets.components.store_assets import StoreSettings
from imgassets.environment import Storage
from imgassets.errors import BadInput
from imgassets.operations.scaffold import scaffold
from imgassets.stores import open_store
from imgassets.stores.registry import DEFAULT
from imgassets.testing.making import write
from tests.components.building import built
from tests.components.imagenet import QUIET, Result
from tests.components.torch_dataset.given import Shapes
from tests.operations.test_scaffold import Folder

GIVEN = "tests.components.torch_dataset.given"
SPLITS = {"train": {"split": "train"}, "val": {"split": "val"}}


def draw(root: Path) -> Path:
    """Five pictures of `train`, three of `val`."""
    for split, count in (("train", 5), ("val", 3)):
        (root / split).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            image = Image.new("RGB", (24, 16), (30 * k, 9, 200))
            ImageDraw.Draw(image).ellipse((2, 3, 12 + k, 12), fill=None if k % 2 else (250, 50 * k, 0), outline="white")
            image.save(root / split / f"{('disc', 'ring')[k % 2]}-{k}.png")
    return root


class Stores:
    """The graph of one dataset and runs of it."""

    def __init__(self, place: Path, instance: dg.DagsterInstance, **attributes: Any) -> None:
        self.dataset = TorchDataset(**{"name": "some", "dataset": f"{GIVEN}:Shapes", "splits": SPLITS, **attributes})
        self.instance = instance
        self.storage = Storage(raw=str(place / "raw"), store=str(place / "store"), state=str(place / "state"))
        self.defs = built(self.dataset, self.storage)

    def run(self, partition: str = "train") -> Result:
        """Materialize all stores of a partition."""
        job = self.defs.resolve_job_def("some_stores")
        return Result(
            job.execute_in_process(
                instance=self.instance, partition_key=partition, run_config=QUIET, raise_on_error=False
            )
        )

    def state(self, partition: str = "train") -> str:
        """What a run says of the partition that it made, or found."""
        result = self.run(partition)
        assert result.success, result.failure
        return str(result.metadata[partition]["state"])

    def path(self, format_: str, partition: str = "train") -> Path:
        return Path(self.storage.store) / "some" / f"{format_}_store" / partition


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_all_formats_hold_what_the_dataset_gives(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    root = draw(tmp_path / "raw" / "folders" / "some")
    stores = Stores(tmp_path, instance)
    for split in SPLITS:
        given = Shapes(str(root), split)
        assert stores.state(split) != "unchanged, skipped"
        for format_ in DEFAULT:
            store = open_store(stores.path(format_, split))
            assert store.class_to_idx == Shapes.class_to_idx
            assert store.labels.tolist() == [given[k][1] for k in range(len(given))]
            for k in range(len(given)):
                assert np.array_equal(store[k][0].numpy().transpose(1, 2, 0), np.asarray(given[k][0]))
        assert stores.state(split) == "unchanged, skipped"
    checks = {check.name for check in stores.defs.resolve_asset_graph().asset_check_keys}
    assert checks == {"bytes_verified", "same_in_every_format"}


@pytest.mark.parametrize("function", ["Shapes", "files"])
def test_a_size(tmp_path: Path, instance: dg.DagsterInstance, function: str) -> None:
    draw(tmp_path / "raw" / "folders" / "some")
    stores = Stores(tmp_path, instance, dataset=f"{GIVEN}:{function}", size=(8, 6), mode="L", stores=["memmap"])
    assert stores.run().success
    assert open_store(stores.path("memmap"))[4][0].shape == (1, 8, 6)


def test_what_makes_a_store_again(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: Any) -> None:
    root = draw(tmp_path / "raw" / "folders" / "some")
    assert Stores(tmp_path, instance, stores=["ipc"]).state() != "unchanged, skipped"
    write(root / "Thumbs.db", b"nobody's")
    assert Stores(tmp_path, instance, stores=["ipc"], arguments={}, version=1).state() == "unchanged, skipped"
    again: list[dict[str, Any]] = [
        {"arguments": {"upside_down": True}},
        {"arguments": {"upside_down": False}},
        {"version": 2},
        {"size": (8, 8)},
        {"splits": {"train": {"split": "val"}}},
        {"dataset": f"{GIVEN}:files"},
    ]
    for attributes in again:
        assert Stores(tmp_path, instance, stores=["ipc"], **attributes).state() != "unchanged, skipped", attributes
        assert Stores(tmp_path, instance, stores=["ipc"], **attributes).state() == "unchanged, skipped", attributes
    assert Stores(tmp_path, instance, stores=["ipc"]).state() != "unchanged, skipped"
    write(root / "val" / "notes.txt", b"what the function reads is its own affair")
    assert Stores(tmp_path, instance, stores=["ipc"]).state() != "unchanged, skipped"


def test_code_that_changes(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "raw" / "folders" / "some")
    module = write(tmp_path / "mine" / "shapes_of_mine.py", f"from {GIVEN} import Shapes\n".encode())
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    stores = Stores(tmp_path, instance, dataset="shapes_of_mine:Shapes", stores=["ipc"])
    functions.code_of.cache_clear()
    assert stores.state() != "unchanged, skipped"
    assert stores.state() == "unchanged, skipped"
    module.write_bytes(module.read_bytes() + b"\n# another line\n")
    assert stores.state() == "unchanged, skipped"  # as this process has loaded it
    write(tmp_path / "raw" / "folders" / "some" / "more", b"")
    assert "shapes_of_mine.py was changed after this process had read it: start it again" in stores.run().failure
    functions.code_of.cache_clear()  # as another process
    monkeypatch.delitem(sys.modules, "shapes_of_mine")
    (tmp_path / "raw" / "folders" / "some" / "more").unlink()
    assert stores.state() != "unchanged, skipped"


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"root": "nowhere"}, r"raw/nowhere is no folder: put the files there that .*:Shapes reads"),
        ({"dataset": "nowhere.at_all:f"}, "dataset='nowhere.at_all:f': ModuleNotFoundError: No module named 'nowhere'"),
        ({"dataset": f"{GIVEN}:Shape"}, "AttributeError: module .* has no attribute 'Shape'"),
        ({"dataset": f"{GIVEN}:NO_FUNCTION"}, "is a int, no function"),
        (
            {"dataset": f"{GIVEN}:broken", "splits": None},
            "broken called with root: RuntimeError: nothing in some",
        ),
        ({"dataset": f"{GIVEN}:broken"}, "called with root, split: TypeError: .*unexpected keyword argument 'split'"),
        ({"dataset": "os:system", "splits": None, "arguments": {"command": "touch x"}}, "os:system called with root, "),
        ({"dataset": "builtins:dict"}, r"A dataset needs a length and items \(image, label\): KeyError"),
        ({"splits": None}, r"A dataset needs a length and items \(image, label\): IndexError"),
        ({"dataset": f"{GIVEN}:Noise"}, "sample 0 has another image whenever it is asked for: leave random transforms"),
        ({"dataset": f"{GIVEN}:Noise", "size": (9, 8)}, r"arrays of \[8, 8\] \(height, width\), not of \[9, 8\]"),
    ],
)
def test_mistakes_are_a_sentence_and_leave_nothing(
    tmp_path: Path, instance: dg.DagsterInstance, attributes: dict[str, Any], told: str
) -> None:
    draw(tmp_path / "raw" / "folders" / "some")
    stores = Stores(tmp_path, instance, stores=["tar"], **attributes)
    result = stores.run("all" if "splits" in attributes else "train")
    assert not result.success
    assert re.search(told, result.failure), result.failure
    assert len(result.failure) <= 500
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"dataset": "no_colon"}, "dataset is 'no_colon': name a function as package.module:function"),
        ({"dataset": "a/b:c"}, "name a function"),
        ({"dataset": "a:b.c"}, "name a function"),
        ({"root": "/data"}, r"root is '/data': expected a folder below \$IMGASSETS_RAW"),
        ({"arguments": {"root": "/etc"}}, "all gives the argument root"),
        ({"splits": {"val": {"root": 3}}}, "val gives the argument root"),
        ({"splits": {}}, "expected at least one split"),
        ({"splits": {"train": None}}, "splits is .*dictionary"),
        ({"arguments": {"since": float("nan")}}, "all has arguments that are no text, numbers"),
        ({"arguments": {"since": yaml.safe_load("2020-01-01")}}, "put a date in quotes"),
        ({"size": (0, 3)}, r"size is \[0, 3\]"),
        ({"mode": "RGBX"}, "mode is 'RGBX'"),
    ],
)
def test_attributes_that_mean_nothing(attributes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        TorchDataset(**{"name": "x", "dataset": "a.b:c", **attributes})


def test_unusable_items_are_left_out_and_listed(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    root = draw(tmp_path / "raw" / "folders" / "some")
    write(root / "train" / "ring-1.png", b"no picture")
    failing = Stores(tmp_path, instance, stores=["tar"])
    assert "sample 3 cannot be used: UnidentifiedImageError" in failing.run().failure
    stores = Stores(tmp_path, instance, stores=["tar"], settings=StoreSettings(on_error="skip"))
    assert stores.run().metadata["train"]["skipped"] == 1
    assert [left["index"] for left in open_store(stores.path("tar")).skipped] == [3]


def counted(project: Folder, state: str) -> list[int]:
    """Partitions of each store that are in a state."""
    return [int(asset[state]) for asset in json.loads(project.run("imgassets status --json"))]


@pytest.mark.slow
def test_a_project_of_ones_own(tmp_path: Path) -> None:
    """From YAML to stores by commands alone; the function lies in the project, and nothing imports it before a run."""
    scaffold(tmp_path / "photos")
    project = Folder(tmp_path / "photos")
    draw(project.path / "dagster_home" / "raw" / "drawn")
    code = Path(sys.modules[GIVEN].__file__ or "").read_text()
    (project.path / "photos" / "shapes.py").write_text(code + "\nprint('imported')\n")
    attributes = {"dataset": "photos.shapes:Shapes", "root": "drawn", "splits": SPLITS, "stores": ["memmap", "tar"]}
    text = yaml.safe_dump({"type": "imgassets.components.TorchDataset", "attributes": {"name": "shapes", **attributes}})
    project.declare("shapes", text)
    assert "imported" not in project.run("imgassets status")
    project.run("imgassets backfill *")
    vault = project.path / "dagster_home" / "store" / "shapes"
    for store in ("memmap_store", "tar_store"):
        assert [len(open_store(vault / store / split)) for split in SPLITS] == [5, 3]
    assert counted(project, "current") == [2, 2]
    (project.path / "photos" / "shapes.py").write_text(code)
    assert counted(project, "stale") == [2, 2]
    project.run("imgassets verify *")

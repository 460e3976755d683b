"""The IO-manager contract on the five image stores, and what a person sees of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from imgassets.environment import Storage
from imgassets.io.base import ArtifactIOManager
from imgassets.io.stores import Stored, StoreIOManager
from imgassets.sources.folder import class_folder
from imgassets.stores.registry import BUNDLED
from imgassets.stores.writing import StorePlan
from imgassets.testing.io_manager import KEYS, IOManagerContract
from imgassets.testing.making import arrays, commit, content, folder


class StoresContract(IOManagerContract):
    name: str

    def manager(self, storage: Storage) -> ArtifactIOManager:
        return StoreIOManager(codec=self.name, storage=storage)

    def content(self, key: str) -> Stored:
        return Stored(arrays(20 + KEYS.index(key)), StorePlan(self.name, images_per_file=9))

    def check(self, handle: Any, key: str) -> None:
        source = self.content(key).source
        images, labels = handle.batch(range(len(handle)))
        np.testing.assert_array_equal(images.numpy(), content(source)["image"])
        np.testing.assert_array_equal(labels.numpy(), content(source)["label"])


globals().update({f"Test_{name}": type(f"Test_{name}", (StoresContract,), {"name": name}) for name in BUNDLED})


@pytest.mark.parametrize("name", ["memmap", "tar"])
def test_a_person_sees_pictures_counts_and_what_was_left_out(tmp_path: Path, name: str) -> None:
    root = folder(tmp_path / "folder")
    (root / "class1" / "img0.jpg").write_bytes(b"broken")
    whole = (root / "class1" / "img1.jpg").read_bytes()
    (root / "class1" / "img1.jpg").write_bytes(whole[:-60] + b"\xff\xd9")
    made = commit(tmp_path, class_folder(root), name, on_error="skip")
    storage = Storage(raw="", store=str(tmp_path / "store"), state=str(tmp_path / "state"))
    metadata = StoreIOManager(codec=name, storage=storage).describe(made.location, made.manifest)
    assert set(metadata) == {"contact_sheet", "fields", "images_per_class", "skipped_samples", "damaged_samples"}
    assert all(isinstance(value, dg.MarkdownMetadataValue) for value in metadata.values())
    assert "class1/img0.jpg" in metadata["skipped_samples"].value
    assert "class1/img1.jpg" in metadata["damaged_samples"].value
    assert made.manifest.facts == {
        "rows": 22,
        "classes": 4,
        "shards": 1,
        "skipped": 1,
        "notes": {"cmyk": 1, "damaged": 1, "grayscale": 1},
        "walked": 25,
        "passed_over": {
            "hidden": {"count": 1, "examples": ["class2/.hidden.jpg"]},
            "no_image": {"count": 1, "examples": ["class2/notes.txt"]},
        },
    }
    (left_out,) = made.manifest.exceptions
    assert left_out["name"] == "class1/img0.jpg"

"""The network over ImageNet's class folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import torch  # noqa: TID253
from PIL import Image

from imgassets.commit import load
from imgassets.components import Activations, ImageFolder
from imgassets.components.network.folders import FolderInput
from imgassets.environment import Device, Storage
from imgassets.errors import BadInput
from imgassets.formats.activation_npz import ActivationReader
from tests.components.building import over
from tests.components.imagenet import QUIET, Result
from tests.models.networks import TINY, network, state

SYNSETS = {"n01440764": 0, "n02119789": 278, "n03710637": 638}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Three images in each of three classes, of several sizes and kinds, and a network."""
    rng = np.random.default_rng(0)
    for number, synset in enumerate(SYNSETS):
        folder = tmp_path / "raw" / "folders" / "mini" / synset
        folder.mkdir(parents=True)
        for k in range(3):
            small = rng.integers(0, 256, (6, 8, 3), np.uint8)
            picture = Image.fromarray(small).resize((80 + 9 * k, 60 + 5 * number), Image.Resampling.BICUBIC)
            kind = {(1, 1): "L", (2, 2): "CMYK"}.get((number, k), "RGB")
            picture.convert(kind).save(folder / f"image_{k}.{'png' if k == 0 else 'JPEG'}")
    (tmp_path / "raw" / "dmd2").mkdir()
    (tmp_path / "raw" / "dmd2" / "network.json").write_text(json.dumps(TINY.as_dict()))
    torch.save(state(TINY), tmp_path / "raw" / "dmd2" / "checkpoint.pth")
    return Storage(raw=str(tmp_path / "raw"), store=str(tmp_path / "store"), state=str(tmp_path / "state"))


def run(storage: Storage, *, resize: str = "lanczos_stretch", asset: str = "activations", **attributes: Any) -> Result:
    dataset = ImageFolder(name="mini", stores=[])
    component = Activations(name="mini", folder="mini", batch_size=4, generated_chunks=1, generated_per_chunk=4)
    component = replace(component, **attributes)
    defs = component.build_over(FolderInput(dataset, resize, component.class_conditioning))
    merged = over(defs, storage, device=Device(device="cpu"))
    with dg.DagsterInstance.ephemeral() as instance:
        return Result(
            merged.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(["mini", asset])],
                partition_key="all",
                run_config=QUIET,
                raise_on_error=False,
            )
        )


def samples(storage: Storage) -> list[dict[str, Any]]:
    reader = ActivationReader(Path(storage.store) / "mini" / "activations" / "all")
    found = []
    for number in range(len(reader.batches)):
        layers, listed = reader.read(number)
        found += [s | {"values": layers["midblock"][i]} for i, s in enumerate(listed)]
    return found


def test_every_image_decoded_stretched_and_labelled(storage: Storage) -> None:
    assert run(storage).success
    found = samples(storage)
    assert [s["class_id"] for s in found] == [rank for rank in SYNSETS.values() for _ in range(3)]
    assert found[3]["original_path"] == "n02119789/image_0.png"
    assert {s["source"] for s in found} == {"imagenet_real"}
    for sample in found:
        with Image.open(Path(storage.raw) / "folders" / "mini" / sample["original_path"]) as picture:
            if picture.mode != "RGB":
                continue
            pixels = np.asarray(picture.resize((16, 16), Image.Resampling.LANCZOS))
        x = (torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None] / 127.5 - 1) * 80
        onehot = torch.nn.functional.one_hot(torch.tensor([sample["class_id"]]), 1000).float()
        with torch.inference_mode():
            taken, _ = network(TINY)(x, torch.tensor(80.0), onehot, ("midblock",), False)
        want = taken["midblock"].flatten().numpy()
        assert np.linalg.norm(sample["values"] - want) < 0.02 * np.linalg.norm(want)  # decoders differ by a level


def test_another_resizing_gives_other_numbers_and_reconstructions_come_too(storage: Storage) -> None:
    assert run(storage).success
    stretched = samples(storage)
    assert run(storage, resize="box_center_crop").metadata["all"]["state"] == "built"
    assert max(np.abs(a["values"] - b["values"]).max() for a, b in zip(stretched, samples(storage), strict=True)) > 0.01
    assert run(storage, asset="reconstructions").metadata["all"]["dagster/row_count"] == 9
    assert run(storage, num_samples=2).success
    assert len(samples(storage)) == 2


def test_an_unknown_synset_is_refused(storage: Storage) -> None:
    folder = Path(storage.raw) / "folders" / "mini"
    (folder / "n03710637").rename(folder / "n99999999")
    assert "n99999999 is none of the 1000 classes" in run(storage).failure
    assert not Path(storage.store, "mini").exists()


def test_without_class_conditioning_any_folder_will_do(storage: Storage) -> None:
    folder = Path(storage.raw) / "folders" / "mini"
    (folder / "n03710637").rename(folder / "toys")
    assert run(storage, class_conditioning=False).success
    known = {(s["class_id"], s["synset_id"], s["class_name"]) for s in samples(storage)}
    assert known == {(0, "n01440764", "tench"), (278, "n02119789", "kit_fox"), (-1, None, None)}
    assert {s["original_path"].split("/")[0] for s in samples(storage) if s["class_id"] == -1} == {"toys"}


def test_a_damaged_image_is_named(storage: Storage) -> None:
    path = Path(storage.raw) / "folders" / "mini" / "n02119789" / "image_1.JPEG"
    path.write_bytes(path.read_bytes()[:200])
    assert "n02119789/image_1.JPEG cannot be used" in run(storage).failure


@pytest.mark.parametrize("asset", ["activations", "reconstructions"])
def test_an_image_that_decodes_only_with_a_complaint_is_counted_and_listed(storage: Storage, asset: str) -> None:
    assert run(storage, asset=asset).success
    folder = Path(storage.store) / "mini" / asset / "all"
    assert "notes" not in load(folder / ".imgassets.json").facts
    path = Path(storage.raw) / "folders" / "mini" / "n02119789" / "image_1.JPEG"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3] + b"\xff\xd9")
    assert run(storage, asset=asset).success
    manifest = load(folder / ".imgassets.json")
    assert manifest.facts["notes"] == {"damaged": 1}
    (listed,) = manifest.exceptions
    assert listed == {
        "name": "n02119789/image_1.JPEG",
        "reason": "Corrupt JPEG data: premature end of data segment",
    }


def test_images_with_label_images_have_no_class() -> None:
    with pytest.raises(BadInput, match="labels are images"):
        FolderInput(ImageFolder(name="dense", labels="dense/labels"))

"""Artifacts of other kinds through `open_store`: arrays, activations by layer, tars of PNGs, TFRecords, CT volumes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader  # noqa: TID253

from imgassets import open_store
from imgassets.commit import Location, Recipe, Stage, Vault, Written
from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats.activation_npz import write_batch
from imgassets.formats.arrays import LabelledImages, write_arrays
from imgassets.formats.png_tar import PngTar
from imgassets.places import Place

ROWS = 11
LAYERS = {"midblock": (4, 2, 3), "pooled": (5,)}


def commit(root: Path, write: Any) -> Path:
    """A folder written by the commit protocol."""
    vault = Vault(root / "store", root / "state")
    location: Location = vault.location("a", "b", folder=True)
    return vault.commit(location, Recipe("a", "b", {}, {}, "x/1", "1"), write).location.path


def images() -> Any:
    return np.random.default_rng(0).integers(0, 255, (ROWS, 3, 6, 5), np.uint8)


def activations(layer: str) -> Any:
    return np.random.default_rng(len(layer)).normal(size=(ROWS, *LAYERS[layer])).astype(np.float32)


def write_activations(stage: Stage, compressed: bool = False) -> Written:
    for number, rows in enumerate((range(4), range(4, 8), range(8, ROWS))):
        layers = {layer: activations(layer)[rows].reshape(len(rows), -1) for layer in LAYERS}
        samples = [{"global_index": k, "class_id": k * 7, "original_path": f"n{k}.JPEG"} for k in rows]
        write_batch(stage, number, layers, samples, compressed=compressed)
    return Written({"rows": ROWS, "layers": {name: list(shape) for name, shape in LAYERS.items()}})


def write_pngs(stage: Stage, names: tuple[str, ...] = ("images", "reconstructed")) -> Written:
    for name in names:
        with stage.create(f"{name}.tar") as sink:
            tar = PngTar(sink)
            for k, image in enumerate(images().transpose(0, 2, 3, 1)):
                tar.add(100 + k, image if name == "images" else 255 - image)
            tar.close()
    return Written()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    def arrays(stage: Stage) -> Written:
        blocks = [images()[:4].reshape(4, -1), images()[4:].reshape(ROWS - 4, -1)]
        return write_arrays(LabelledImages(blocks, np.arange(ROWS) * 7, (3, 6, 5)), stage)

    writers = {
        "arrays": arrays,
        "activations": write_activations,
        "compressed": lambda stage: write_activations(stage, compressed=True),
        "pngs": write_pngs,
        "one tar": lambda stage: write_pngs(stage, ("images",)),
    }
    return {name: commit(tmp_path_factory.mktemp(name), write) for name, write in writers.items()}


def content(place: Place) -> bytes:
    assert place.read
    return place.read()


KINDS = {
    "arrays": ({}, images),
    "activations": ({"layer": "midblock"}, lambda: activations("midblock")),
    "compressed": ({"layer": "pooled"}, lambda: activations("pooled")),
    "pngs": ({"split": "reconstructed"}, lambda: 255 - images()),
    "one tar": ({}, images),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(rows=st.lists(st.integers(-ROWS, ROWS - 1), min_size=1, max_size=20))
def test_rows_items_and_batches(made: dict[str, Path], kind: str, rows: list[int]) -> None:
    how, wanted = KINDS[kind]
    store = open_store(made[kind], **how)
    batch = store.batch(rows)
    for k, row in enumerate(rows):
        assert np.array_equal(store[row][0].numpy(), wanted()[row])
        assert np.array_equal(batch[0][k].numpy(), wanted()[row])
        if len(batch) == 2:
            assert store[row][1] == batch[1][k] == range(0, 7 * ROWS, 7)[row]


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_face(made: dict[str, Path], kind: str) -> None:
    how, wanted = KINDS[kind]
    store = open_store(made[kind], **how)
    assert len(store) == ROWS
    store.verify()
    assert store.fields[0].name == "image"
    found = [torch.as_tensor(np.stack([np.asarray(i) for i in batch[0]])) for batch in store.loader(4)]
    assert np.array_equal(torch.cat(found).numpy(), wanted())
    assert len(list(DataLoader(store, batch_size=4, num_workers=0))) == 3  # type: ignore[arg-type]
    again = copy.deepcopy(store)
    assert torch.equal(again[3][0], store[3][0])
    if "pngs" not in kind and "tar" not in kind:
        assert store.labels.tolist() == list(range(0, 7 * ROWS, 7))
        assert store.classes[0] == "n01440764"
    if kind in {"arrays", "activations"}:
        assert content(store.place(5)) == wanted()[5].tobytes()


def test_names_and_places(made: dict[str, Path]) -> None:
    assert open_store(made["activations"], layer="pooled").name(9) == "n9.JPEG"
    store = open_store(made["one tar"])
    assert store.name(3) == "sample_000103.png"
    assert store.column("index", [3, 0]).tolist() == [103, 100]
    place = store.place(3)
    assert (place.file, content(place)[:4]) == ("images.tar", b"\x89PNG")
    assert torch.equal(open_store(made["pngs"] / "reconstructed.tar")[2][0], 255 - store[2][0])
    with pytest.raises(StoreError, match="no labels"):
        _ = store.labels


def test_which_of_several_has_to_be_said(made: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match=r"holds midblock, pooled: say which, e\.g\. layer='midblock'"):
        open_store(made["activations"])
    with pytest.raises(BadInput, match="holds images, reconstructed"):
        open_store(made["pngs"])
    with pytest.raises(MissingUpstream, match="has no 'other', only midblock, pooled"):
        open_store(made["activations"], layer="other")
    with pytest.raises(MissingUpstream):
        open_store(made["pngs"].parent)


def test_damage_is_told(tmp_path: Path) -> None:
    path = commit(tmp_path, write_activations)
    document = json.loads((path / "batch_000001.json").read_text())
    document["samples"].pop()
    (path / "batch_000001.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"batch_000001\.json"):
        open_store(path, layer="midblock")
    data = (path / "batch_000000.npz").read_bytes()
    (path / "batch_000000.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises((StoreError, BadInput), match=r"batch_000000\.npz"):
        open_store(path, layer="midblock")

"""TFRecord folders through `open_store`: items, batches, workers, pickles, damage."""

from __future__ import annotations

import json
import pickle  # noqa: TID251  (what torch does to a dataset when it spawns workers)
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets import open_store
from imgassets.augment import RandomResizedCrop
from imgassets.classes import imagenet_classes
from imgassets.commit import Recipe, Stage, Vault, Written
from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats import imagenet_records, tfrecord
from imgassets.formats.record_index import FACT, RecordIndex
from imgassets.formats.tf_example import ImageExample
from imgassets.formats.tfrecord import TFRecordFile
from imgassets.images.pixels import decode
from tests.pictures import jpeg

SYNSETS = ["n01440764", "n02123045", "n15075141"]
SIZES = [4, 0, 3]


def image(i: int) -> ImageExample:
    synset = SYNSETS[i % 3]
    label = imagenet_classes().class_id(synset) + 1
    data = jpeg(i, 40 + i, 60, "L" if i == 2 else "RGB")
    return ImageExample(f"{synset}_{i}.JPEG", synset, label, 40 + i, 60, data)


@dataclass(frozen=True)
class Source:
    """What a shard is written from."""

    example: ImageExample
    ordinary: bool = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.example, "filename" if name == "name" else name)


def shards() -> Iterator[tuple[str, list[ImageExample]]]:
    start = 0
    for k, size in enumerate(SIZES):
        yield f"train-{k:05d}-of-00003", [image(i) for i in range(start, start + size)]
        start += size


def indexed(root: Path) -> Path:
    """Shards as the asset makes them: the manifests know where images lie."""
    vault = Vault(root / "store", root / "state")
    for name, images in shards():
        location = vault.location("tfrecords", name, folder=False)

        def write(stage: Stage, images: list[ImageExample] = images, name: str = name) -> Written:
            with stage.create(name) as sink:
                facts = imagenet_records.write(sink, map(Source, images))
            return Written({"rows": facts.records, FACT: facts.index.dump()})

        vault.commit(location, Recipe("tfrecords", name, {}, {}, "tfrecord/1", "1"), write)
    return root / "store" / "tfrecords"


@pytest.fixture(params=["plain", "indexed", "links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "indexed":
        return indexed(tmp_path)
    for name, images in shards():
        if request.param == "links":
            (tmp_path / name).symlink_to(indexed(tmp_path / "vault") / name)
            continue
        with (tmp_path / name).open("wb") as sink:
            tfrecord.write(sink, (one.parts() for one in images))
    return tmp_path


def test_items_are_images_and_class_ids(folder: Path) -> None:
    store = open_store(folder)
    assert len(store) == 7
    for i in range(-7, 7):
        pixels, label = store[i]
        wanted = image(i % 7)
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), decode(wanted.encoded))
        assert label == imagenet_classes().class_id(wanted.synset) == wanted.label - 1
        assert bytes(store.raw(i % 7)) == wanted.encoded
        assert store.name(i % 7) == wanted.filename
    assert store.labels.tolist() == [image(i).label - 1 for i in range(7)]
    assert store.class_to_idx["n01440764"] == 0
    assert len(store.class_to_idx) == 1000
    assert [field.name for field in store.fields] == ["image", "label", "name"]
    images, labels = store.batch([6, 0, 3])
    assert [tuple(pixels.shape) for pixels in images] == [(3, 46, 60), (3, 40, 60), (3, 43, 60)]
    assert labels.tolist() == [image(i).label - 1 for i in (6, 0, 3)]
    assert store.column("label", [1, 2]).tolist() == [image(1).label - 1, image(2).label - 1]
    with pytest.raises(IndexError):
        store[7]


def test_a_transform_gets_a_picture(folder: Path) -> None:
    store = open_store(folder, transform=lambda picture: picture.size, target_transform=lambda label: -label)
    assert store[4] == ((60, 44), -imagenet_classes().class_id(SYNSETS[1]))


def test_one_shard_is_a_store_too(folder: Path) -> None:
    store = open_store(folder / "train-00002-of-00003")
    assert [store.name(i) for i in range(len(store))] == [image(i).filename for i in (4, 5, 6)]
    assert len(open_store(folder / "train-00001-of-00003")) == 0


def test_the_split_is_named_where_there_are_several(folder: Path) -> None:
    with (folder / "validation-00000-of-00001").open("wb") as sink:
        tfrecord.write(sink, [image(1).parts()])
    with pytest.raises(BadInput, match="say which"):
        open_store(folder)
    assert len(open_store(folder, split="validation")) == 1
    store = pickle.loads(pickle.dumps(open_store(folder, split="train")))  # noqa: S301
    assert len(store) == 7
    with pytest.raises(MissingUpstream):
        open_store(folder, split="test")


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_give_every_image_once(folder: Path, context: str) -> None:
    from torch.utils.data import DataLoader

    store = open_store(folder)
    loader = DataLoader(store, batch_size=1, num_workers=2, multiprocessing_context=context)
    found = [(pixels[0], int(label)) for pixels, label in loader]
    assert len(found) == 7
    for i, (pixels, label) in enumerate(found):
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), decode(image(i).encoded))
        assert label == image(i).label - 1


def test_a_list_is_a_batch(folder: Path) -> None:
    images, labels = open_store(folder)[[3, 0, -1]]
    for pixels, label, i in zip(images, labels.tolist(), (3, 0, 6), strict=True):
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), decode(image(i).encoded))
        assert label == image(i).label - 1


def test_damage_is_an_error_when_it_is_met_and_when_verified(folder: Path) -> None:
    path = folder / "train-00000-of-00003"
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    store = open_store(folder)
    store[0]
    with pytest.raises(StoreError, match="train-00000-of-00003 is damaged: record 3 fails its CRC"):
        store[3]
    with pytest.raises(StoreError, match="record 3"):
        store.verify()
    path.write_bytes(data[:-5])
    with pytest.raises(StoreError, match="it was cut"):
        open_store(folder)
    path.unlink()
    with pytest.raises(StoreError, match="lacks 1 of 3 train shards"):
        open_store(folder)


def test_sound_shards_verify(folder: Path) -> None:
    open_store(folder).verify()


def test_a_synset_that_is_none_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "train-00000-of-00001").open("wb") as sink:
        tfrecord.write(sink, [ImageExample("a.JPEG", "n99999999", 1, 1, 1, jpeg(0)).parts()])
    with pytest.raises(StoreError, match="'n99999999', which is none of the 1000"):
        open_store(tmp_path)[0]


def test_where_an_image_lies(folder: Path) -> None:
    for store in (open_store(folder), open_store(folder / "train-00000-of-00003")):
        for i in (0, 3, -1):
            place = store.place(i)
            assert place.read
            assert place.read() == image(i % len(store)).encoded
            assert place.offset
            assert place.file.startswith("train-0000")
    assert open_store(folder).place(6).file == "train-00002-of-00003"


def test_crops_of_records(folder: Path) -> None:
    store = open_store(folder)
    found = [(images, labels) for images, labels in store.loader(3, augment=RandomResizedCrop(32))]
    assert [tuple(images.shape) for images, _ in found] == [(3, 3, 32, 32), (3, 3, 32, 32), (1, 3, 32, 32)]
    assert [label for _, labels in found for label in labels.tolist()] == store.labels.tolist()


def unread(*_: object) -> object:
    raise AssertionError("a shard was scanned")


@pytest.mark.parametrize("where", ["", "train-00002-of-00003"])
def test_an_index_saves_the_look_at_every_record(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = indexed(tmp_path)
    wanted = [image(i) for i in (range(4, 7) if where else range(7))]
    monkeypatch.setattr(TFRecordFile, "_scan", unread)
    monkeypatch.setattr(TFRecordFile, "_read", unread)
    monkeypatch.setattr("imgassets.stores.records.parse", unread)
    store = open_store(path / where)
    assert store.labels.tolist() == [one.label - 1 for one in wanted]
    assert store.column("image", range(len(wanted))) == [one.encoded for one in wanted]
    assert len(pickle.loads(pickle.dumps(store))) == len(wanted)  # noqa: S301


def test_an_index_of_another_shard_is_none(tmp_path: Path) -> None:
    path = indexed(tmp_path)
    for name in ("train-00000-of-00003", "train-00002-of-00003"):
        with (path / name).open("wb") as sink:  # not by us
            tfrecord.write(sink, [image(9).parts(), image(8).parts()])
    store = open_store(path)
    assert [store.name(i) for i in range(4)] == [image(i).filename for i in (9, 8, 9, 8)]
    assert store.labels.tolist() == [image(i).label - 1 for i in (9, 8, 9, 8)]


@pytest.mark.parametrize("text", ["", "AAAA", "no base64!", 7, None])
def test_an_index_that_is_none_is_passed_over(tmp_path: Path, text: object) -> None:
    vault = Vault(tmp_path / "store", tmp_path / "state")

    def write(stage: Stage) -> Written:
        with stage.create("train-00000-of-00001") as sink:
            tfrecord.write(sink, [image(1).parts()])
        return Written({"rows": 1, FACT: text})

    location = vault.location("train-00000-of-00001", folder=False)
    vault.commit(location, Recipe("a", "b", {}, {}, "tfrecord/1", "1"), write)
    assert open_store(location.path).column("image", [0]) == [image(1).encoded]
    manifest = json.loads(location.manifest.read_text())
    location.manifest.write_text(json.dumps(manifest | {"facts": {}}))  # damaged
    assert open_store(location.path).column("image", [0]) == [image(1).encoded]


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 4), max_size=9))
def test_an_index_is_read_as_it_was_written(rows: list[tuple[int, int, int, int]]) -> None:
    index = RecordIndex.of(rows)
    assert RecordIndex.parse(index.dump()).entries.tolist() == rows
    assert index.offsets.tolist() == list(accumulate((sum(row[:3]) for row in rows), initial=0))


def test_a_record_is_proven_when_it_is_first_read(folder: Path) -> None:
    store = open_store(folder)
    path = folder / "train-00000-of-00003"
    data = path.read_bytes()
    at = data.index(image(3).encoded) + 20
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 1]))
    for read in (lambda: store.column("image", [3]), lambda: store.raw(3), lambda: store.place(3), lambda: store[3]):  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="record 3 fails its CRC"):
            read()
    assert bytes(store.raw(2)) == image(2).encoded  # type: ignore[attr-defined]

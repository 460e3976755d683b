"""A sample's passport, compared with what other programs read from the raw inputs and from the artifacts."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from imgassets.operations.passport import Passport, passport
from imgassets.operations.selection import graph
from imgassets.places import Place
from imgassets.stores.registry import DEFAULT
from tests.operations.conftest import Home


@pytest.fixture
def instance(sampled: Home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as found:
        yield found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def there(place: Place, folder: Path) -> bytes:
    """The bytes that a passport points to, read by plain means."""
    assert place.offset is not None
    assert place.size is not None
    with (folder / place.file).open("rb") as file:
        file.seek(place.offset)
        return file.read(place.size)


def folders(home: Home, known: Passport) -> dict[str, tuple[Place, Path]]:
    """Of each twin, by asset."""
    found = {}
    for row in (known.row, *known.twins):
        location = row.artifact.location
        found[row.artifact.asset] = (row.place, location.path if location.folder else location.path.parent)
    return found


def npz_pixels(home: Home, split: str) -> list[bytes]:
    """Pixels of a split by global index, as NumPy reads the raw batches."""
    names = ["val_data"] if split == "val" else [f"train_data_batch_{number}" for number in range(1, 11)]
    arrays = [np.load(home.raw / f"{name}.npz", allow_pickle=False)["data"] for name in names]
    return [row.tobytes() for array in arrays for row in array]


@pytest.mark.parametrize("split", ["train", "val"])
def test_npz_samples_are_the_same_in_every_artifact(sampled: Home, instance: dg.DagsterInstance, split: str) -> None:
    pixels = npz_pixels(sampled, split)
    for number in random.Random(0).sample(range(len(pixels)), 12):
        known = passport(graph(), instance, f"imagenet64/memmap_store/{split}", number)
        assert (known.sample.series, known.sample.number) == (f"imagenet64/{split}", number)
        assert known.source is not None
        assert known.source.sha256 == sha256(pixels[number])
        found = folders(sampled, known)
        wanted = {f"imagenet64/{name}_store" for name in DEFAULT} | {"imagenet64/arrays", "imagenet64/npz_index"}
        assert wanted | {"dmd2/activations", "dmd2/reconstructions"} <= set(found)
        for name in ("arrays", *(f"{store}_store" for store in DEFAULT)):
            place, folder = found[f"imagenet64/{name}"]
            assert there(place, folder) == pixels[number], name
            assert place.sha256 == known.source.sha256
        if sampled_row := found.get("imagenet64/csv_sample"):
            cells = np.array(there(*sampled_row).split(b","), np.float32) * 255
            np.testing.assert_allclose(cells, np.frombuffer(pixels[number], np.uint8), atol=0.51)
        place, folder = found["dmd2/activations"]
        row = next(row for row in known.twins if row.artifact.asset == "dmd2/activations")
        with np.load(folder / place.file, allow_pickle=False) as archive:
            layer = archive[place.member.removesuffix(".npy")]
        assert there(place, folder) == layer[row.row % 64].tobytes()
        assert row.about["global_index"] == number


def test_every_image_of_the_archives_is_found_in_stores_and_shards(sampled: Home, instance: dg.DagsterInstance) -> None:
    raw = sampled.path / "raw" / "ilsvrc2012"
    images: dict[str, bytes] = {}
    with tarfile.open(raw / "ILSVRC2012_img_train.tar") as outer:
        for member in outer:
            inner = outer.extractfile(member)
            assert inner is not None
            with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
                images |= {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    seen = set()
    for number in range(0, len(images), 3):
        known = passport(graph(), instance, "ilsvrc2012/tar_index/train", number)
        name = known.row.about["name"]
        seen.add(name)
        assert known.source is not None
        assert there(known.source, sampled.path / "raw") == images[name]
        found = folders(sampled, known)
        for store in DEFAULT:
            place, folder = found[f"ilsvrc2012/{store}_store"]
            assert there(place, folder) == images[name]
        place, folder = found["ilsvrc2012/tfrecords"]
        record = there(place, folder)
        twin = next(row for row in known.twins if row.artifact.asset == "ilsvrc2012/tfrecords")
        assert twin.about["filename"] == name
        odd = images[name][:2] != b"\xff\xd8" or b"Adobe" in images[name][:4000]
        assert (record == images[name]) or odd
        assert place.sha256 == sha256(record)
    assert len(seen) == len(range(0, len(images), 3))


def test_a_record_leads_back_to_its_image(sampled: Home, instance: dg.DagsterInstance) -> None:
    known = passport(graph(), instance, "ilsvrc2012/tfrecords/validation-00002-of-00003", 4)
    assert known.source is not None
    assert known.source.member == known.row.about["filename"]
    assert known.source.sha256 == known.row.place.sha256


def test_files_of_a_folder(sampled: Home, instance: dg.DagsterInstance) -> None:
    known = passport(graph(), instance, "mini/tar_store/all", 7)
    assert known.source is not None
    assert known.source.file == f"folders/mini/{known.row.about['name']}"
    assert sha256((sampled.path / "raw" / known.source.file).read_bytes()) == known.row.place.sha256
    assert len(known.twins) == len(DEFAULT) - 1


def test_what_was_generated_has_no_source(sampled: Home, instance: dg.DagsterInstance) -> None:
    known = passport(graph(), instance, "dmd2/generated/1", 3)
    assert known.source is None
    assert known.sample.series == "dmd2/generated"
    assert known.row.about["global_index"] == known.sample.number


def test_the_command(sampled: Home) -> None:
    document = sampled.json("trace", "imagenet64/arrays/train_data_batch_2", "1")
    assert document["source"]["file"] == "imagenet64/train_data_batch_2.npz"
    assert document["sha256"] == document["source"]["sha256"]
    assert {twin["artifact"] for twin in document["twins"]} >= {"imagenet64/hdf5_store/train"}
    assert not document["unreadable"]
    text = sampled.run("trace", "imagenet64/arrays/train_data_batch_2", "1").output
    assert text.count(document["sha256"]) >= 7
    wrong = sampled.run("trace", "imagenet64/arrays/val_data", "60000", code=2).output
    assert "has the rows 0.." in wrong
    assert "names no partition" in sampled.run("trace", "imagenet64/arrays", "3", code=2).output


def test_a_damaged_twin_is_named(made: Home) -> None:
    made.run("backfill", "imagenet64/memmap_store", "--json")
    (made.store / "memmap_store" / "train" / "store.json").write_text("{")
    document = made.json("trace", "imagenet64/arrays/train_data_batch_1", "0")
    assert list(document["unreadable"]) == ["imagenet64/memmap_store/train"]

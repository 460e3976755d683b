"""Shards written and read back as one sequence; folders that are not whole; records of other writers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats import tfrecord
from imgassets.formats.imagenet_folder import ImageNetRecords, open_split, splits_of
from imgassets.formats.imagenet_records import OVERHEAD, names_digest, write
from imgassets.formats.tf_example import ImageExample, parse, peek
from imgassets.images.header import BadImage
from imgassets.images.judge import inspect
from tests.formats.test_tf_example import Example
from tests.pictures import encode, jpeg, picture


@dataclass(frozen=True)
class Source:
    name: str
    encoded: bytes
    ordinary: bool = True
    synset: str = "n01440764"
    label: int = 1
    width: int = 64
    height: int = 48


def image(i: int, synset: str = "n01440764") -> ImageExample:
    return ImageExample(f"{synset}_{i}.JPEG", synset, i % 1000 + 1, 48, 64, bytes([i % 256]) * (i % 700))


def shard(folder: Path, name: str, images: list[ImageExample]) -> None:
    with (folder / name).open("wb") as sink:
        tfrecord.write(sink, (image.parts() for image in images))


def test_writing_keeps_ordinary_bytes_and_converts_the_rest(tmp_path: Path) -> None:
    sources = [
        Source("a.JPEG", jpeg(0)),
        Source("b.JPEG", jpeg(1, mode="L")),
        Source("c.JPEG", jpeg(2, mode="CMYK"), False),
        Source("d.JPEG", encode(picture(3), "PNG"), False),
    ]
    with (tmp_path / "train-00000-of-00001").open("wb") as sink:
        facts = write(sink, sources)
        assert sink.tell() == facts.bytes
    assert (facts.records, facts.converted) == (4, ["c.JPEG", "d.JPEG"])
    assert facts.names == names_digest(["a.JPEG", "b.JPEG", "c.JPEG", "d.JPEG"])
    found = open_split(tmp_path)
    assert [one.filename for one in found] == ["a.JPEG", "b.JPEG", "c.JPEG", "d.JPEG"]
    assert [one.encoded == source.encoded for one, source in zip(found, sources, strict=True)] == [True, True] + [
        False
    ] * 2
    assert all(inspect(one.encoded).is_ordinary for one in found)
    for one in found:
        rest = sum(map(len, one.parts())) - len(one.encoded) - len(one.filename)
        assert rest < OVERHEAD


def test_an_image_that_cannot_be_converted_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as sink, pytest.raises(BadImage):
        write(sink, [Source("c.JPEG", jpeg(2, mode="CMYK")[:800], False)])


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_shards_are_one_sequence(sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("shards")
    images = [image(i, f"n0{i % 3}000000") for i in range(sum(sizes))]
    start = 0
    for k, size in enumerate(sizes):
        shard(folder, f"train-{k:05d}-of-{len(sizes):05d}", images[start : start + size])
        start += size
    found = open_split(folder)
    assert len(found) == len(images)
    assert list(found) == images
    for i in range(-len(images), len(images)):
        assert found[i] == images[i]
    assert found[1:7:2] == images[1:7:2]
    assert found.labels.tolist() == [one.label for one in images]
    assert found.synsets == [one.synset for one in images]
    assert found.verify() == len(images)
    for i in (len(images), -len(images) - 1):
        with pytest.raises(IndexError):
            found[i]


def test_labels_of_other_writers_are_found_wherever_they_lie(tmp_path: Path) -> None:
    wanted = [image(i + 500) for i in range(5)]
    records = []
    for one in wanted:
        example = Example()
        example.ParseFromString(b"".join(one.parts()))
        keys = sorted(example.features.feature, reverse=True)  # labels behind the image
        other = Example()
        body = b""
        for key in keys:
            other.Clear()
            other.features.feature[key].CopyFrom(example.features.feature[key])
            body += other.features.SerializeToString()
        records.append((b"\x0a" + _varint(len(body)) + body,))
    with (tmp_path / "validation-00000-of-00001").open("wb") as sink:
        tfrecord.write(sink, records)
    found = open_split(tmp_path)
    assert list(found) == wanted
    assert peek(records[3][0][:256], ["image/class/label"]) is None
    assert found.labels.tolist() == [one.label for one in wanted]


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


@given(cut=st.integers(0, 400))
def test_peeking_gives_what_parsing_gives_or_nothing(cut: int) -> None:
    data = b"".join(image(650).parts())
    keys = ["image/class/label", "image/class/synset"]
    found = peek(data[:cut], keys)
    whole = parse(data)
    assert found is None or found == {key: whole[key] for key in keys}
    assert peek(data[:256], keys) is not None


def test_a_folder_must_be_whole_and_unambiguous(tmp_path: Path) -> None:
    with pytest.raises(MissingUpstream, match="holds no TFRecord shards train-00000"):
        open_split(tmp_path)
    with pytest.raises(MissingUpstream, match="holds no TFRecord shards"):
        open_split(tmp_path / "nowhere")
    for k in (0, 2):
        shard(tmp_path, f"train-0000{k}-of-00003", [image(k)])
    (tmp_path / "README").touch()
    with pytest.raises(StoreError, match="lacks 1 of 3 train shards, the first of them train-00001-of-00003"):
        open_split(tmp_path)
    shard(tmp_path, "train-00001-of-00003", [])
    assert [one.filename for one in open_split(tmp_path)] == [image(0).filename, image(2).filename]
    shard(tmp_path, "validation-00000-of-00001", [image(9)])
    assert sorted(splits_of(tmp_path)) == ["train", "validation"]
    with pytest.raises(BadInput, match="holds train and validation: say which"):
        open_split(tmp_path)
    assert len(open_split(tmp_path, "validation")) == 1
    with pytest.raises(MissingUpstream, match="test-00000"):
        open_split(tmp_path, "test")
    shard(tmp_path, "train-00000-of-00002", [])
    with pytest.raises(StoreError, match="shards of"):
        open_split(tmp_path, "train")


def test_damage_is_an_error_when_it_is_met(tmp_path: Path) -> None:
    shard(tmp_path, "train-00000-of-00001", [image(i + 300) for i in range(4)])
    path = tmp_path / "train-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[-100] ^= 8
    path.write_bytes(data)
    found = ImageNetRecords([path])
    assert found[0] == image(300)
    with pytest.raises(StoreError, match="fails its CRC"):
        list(found)
    path.write_bytes(data[:-1])
    with pytest.raises(StoreError, match="it was cut"):
        ImageNetRecords([path])

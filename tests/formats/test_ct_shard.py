"""Shards: what other programs read from them, that they are always the same, and that damage is found."""

from __future__ import annotations

import copy
import gc
import hashlib
import io
import json
import tarfile
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats.ct_shard import Resampled, records_of, write_shard
from imgassets.formats.ct_split import CtSplit, decoders, map_volume, read_text
from imgassets.formats.ustar import header, scan
from tests.formats.ct_making import REPORTS, SHAPE, sample, shard_bytes, write_split


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return write_split(tmp_path)


@given(st.lists(st.integers(0, 999), unique=True, max_size=7), st.tuples(*[st.integers(1, 9)] * 3))
@settings(max_examples=40, deadline=None)
def test_tarfile_reads_what_was_written(numbers: list[int], shape: tuple[int, ...]) -> None:
    samples = [sample(n, shape) for n in numbers]
    data, shard = shard_bytes(samples)
    assert len(data) % 10240 == 0
    assert (shard.size_bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == [f"{s.key}.{e}" for s in samples for e in ("bin", "cls", "json", "txt")]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} <= {(0, 0, 0, "", 0o644)}
        for one, record in zip(samples, shard.samples, strict=True):
            read = {e: archive.extractfile(f"{one.key}.{e}").read() for e in record.members}  # type: ignore[union-attr]
            assert read["bin"] == one.array.tobytes()
            assert read["txt"].decode() == one.report
            assert np.frombuffer(read["cls"], "<f4").tolist() == list(one.labels)
            document = json.loads(read["json"])
            assert (document["study_id"], document["shape"], document["dtype"], document["num_classes"]) == (
                one.key,
                list(shape),
                "float16",
                18,
            )
            for extension, (offset, length) in record.members.items():
                assert data[offset : offset + length] == read[extension]


def test_the_same_samples_give_the_same_bytes() -> None:
    assert shard_bytes([sample(1), sample(2)]) == shard_bytes([sample(1), sample(2)])


@pytest.mark.parametrize("key", ["a.b", "", "../x", "a/b", "ä", "x" * 91])
def test_keys_that_webdataset_would_cut_or_that_leave_the_archive_are_refused(key: str) -> None:
    bad = Resampled(key, np.zeros(SHAPE, np.float16), "", (), (1, 1, 1), (1, 1, 1), "")
    with pytest.raises(BadInput, match="cannot name a sample"):
        shard_bytes([bad])
    with pytest.raises(BadInput, match="used twice"):
        shard_bytes([sample(1), sample(1)])


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    class Nothing:
        def write(self, data: Any) -> int:
            return len(memoryview(data))

    def peak(count: int) -> int:
        def stream() -> Iterator[Resampled]:
            for number in range(count):
                yield sample(number, (64, 64, 64))

        tracemalloc.start()
        write_shard(Nothing(), stream())
        value = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return value

    assert peak(40) < peak(4) + (1 << 20)


def test_header_is_what_tarfile_writes() -> None:
    info = tarfile.TarInfo("train_1_a_1.bin")
    info.size = 110_592_000
    assert header(info.name, info.size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_scan_and_records_find_the_same_without_a_manifest(tmp_path: Path) -> None:
    data, shard = shard_bytes([sample(n) for n in range(4)])
    (tmp_path / "s.tar").write_bytes(data)
    assert [(r.key, r.members) for r in records_of(tmp_path / "s.tar")] == [(r.key, r.members) for r in shard.samples]
    for damage, reason in (
        (data[: shard.samples[1].members["bin"][0] + 9], "cut off"),
        (data[: shard.samples[-1].members["txt"][0] + 512], "stops before its end"),
        (data[:100] + b"x" + data[101:], "damaged"),
        (b"", "stops before its end"),
        (b"\xff" * 1024, "no tar header"),
    ):
        (tmp_path / "s.tar").write_bytes(damage)
        with pytest.raises(BadInput, match=r"s\.tar is no shard") as error:
            records_of(tmp_path / "s.tar")
        assert reason in str(error.value)
    foreign = io.BytesIO()
    with tarfile.open(fileobj=foreign, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        link = tarfile.TarInfo("x")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(BadInput, match="no regular file"):
        list(scan(foreign))


def test_split_gives_every_sample_once_by_index(split: Path) -> None:
    samples = CtSplit(split, verify=True)
    assert len(samples) == 5
    assert samples.study_ids == [f"train_{n}_a_1" for n in range(5)]
    for number in range(5):
        volume, report, labels = samples[number]
        np.testing.assert_array_equal(volume, sample(number).array)
        assert not volume.flags.writeable
        assert report == REPORTS[number]
        assert tuple(labels) == sample(number).labels
    np.testing.assert_array_equal(samples[-1].volume, samples[4].volume)
    assert [s.report for s in samples[1:4]] == list(REPORTS[1:4])
    for outside in (5, -6):
        with pytest.raises(IndexError):
            samples[outside]
    record = samples.shards[1].samples[0]
    np.testing.assert_array_equal(map_volume(split / "shard-000001.tar", record), sample(3).array)
    assert read_text(split / "shard-000001.tar", record) == REPORTS[3]


def test_split_travels_to_workers_without_its_data(split: Path) -> None:
    samples = CtSplit(split)
    samples[0]
    sent = copy.deepcopy(samples)  # by the same protocol as a DataLoader sends it
    assert not any(isinstance(value, np.ndarray) for value in vars(sent).values())
    assert sent.__getstate__()["_mapped"] is None
    np.testing.assert_array_equal(sent[4].volume, sample(4).array)


def test_split_refuses_what_is_not_whole(split: Path) -> None:
    manifest = json.loads((split / "manifest.json").read_text())

    def refused(match: str, **changes: Any) -> None:
        (split / "manifest.json").write_text(json.dumps(manifest | changes))
        with pytest.raises(StoreError, match=match):
            CtSplit(split)

    refused("lists 5 samples and says 6", total_samples=6)
    refused("cannot be one", shards=[manifest["shards"][0] | {"filename": "../../etc/passwd"}])
    refused("cannot be one", shards=[manifest["shards"][0] | {"filename": "pipe:rm"}])
    refused("damaged", shards=[{"filename": "shard-000000.tar"}])
    (split / "shard-000001.tar").write_bytes(b"x")
    refused("has 1 bytes")
    (split / "shard-000001.tar").unlink()
    refused("is missing")
    (split / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        CtSplit(split)
    (split / "manifest.json").unlink()
    with pytest.raises(MissingUpstream, match=r"no manifest\.json"):
        CtSplit(split)


def test_verify_finds_a_flipped_bit(split: Path) -> None:
    record = CtSplit(split).shards[0].samples[1]
    with (split / "shard-000000.tar").open("r+b") as file:
        file.seek(record.members["bin"][0] + 7)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 16]))
    CtSplit(split)[1]
    with pytest.raises(StoreError, match=r"train_1_a_1 in .*shard-000000\.tar is damaged"):
        CtSplit(split, verify=True)[1]


@pytest.fixture
def leaky() -> Iterator[None]:
    """WebDataset leaves the shard it has read to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.mark.usefixtures("leaky")
def test_webdataset_reads_shards_with_our_decoders(split: Path) -> None:
    import webdataset

    urls = str(split / "shard-{000000..000001}.tar")
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode(*decoders(SHAPE))
    found = list(dataset.to_tuple("__key__", "bin", "txt", "cls", "json"))
    assert [key for key, *_ in found] == [f"train_{n}_a_1" for n in range(5)]
    for number, (_, volume, report, labels, document) in enumerate(found):
        np.testing.assert_array_equal(volume.numpy(), sample(number).array)
        assert report == REPORTS[number]
        assert tuple(labels.tolist()) == sample(number).labels
        assert document["labels"] == list(sample(number).labels)


@pytest.mark.usefixtures("leaky")
def test_decoders_never_unpickle(tmp_path: Path) -> None:
    import webdataset

    for extension in ("pyd", "pth", "pkl"):
        with tarfile.open(tmp_path / "evil.tar", "w") as archive:
            info = tarfile.TarInfo(f"a.{extension}")
            info.size = 4
            archive.addfile(info, io.BytesIO(b"evil"))
        (found,) = webdataset.WebDataset(str(tmp_path / "evil.tar"), shardshuffle=False).decode(*decoders())
        assert found[extension] == b"evil"

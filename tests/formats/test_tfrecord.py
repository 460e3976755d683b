"""Framing, random access, and damage of every kind."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.errors import StoreError
from imgassets.formats.tfrecord import OVERHEAD, TFRecordFile, masked, write


def file_of(path: Path, records: list[bytes]) -> Path:
    with path.open("wb") as sink:
        assert write(sink, ((record,) for record in records)) == (len(records), path_size(records))
    return path


def path_size(records: list[bytes]) -> int:
    return sum(len(record) + OVERHEAD for record in records)


def test_a_record_is_what_tensorflow_writes() -> None:
    buffer = io.BytesIO()
    write(buffer, [(b"hello ", b"world")])
    # tf.io.TFRecordWriter of TensorFlow 2.21 for b"hello world"
    assert buffer.getvalue().hex() == "0b000000000000008615f50468656c6c6f20776f726c64007ed86d"
    assert masked(0) == 0xA282EAD8


@settings(deadline=None)
@given(records=st.lists(st.binary(max_size=500), max_size=20), cuts=st.lists(st.integers(0, 500), max_size=3))
def test_reads_back_by_number(records: list[bytes], cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("records") / "x"
    with path.open("wb") as sink:
        bounds = sorted({0, *cuts, 500})
        split = [[record[a:b] for a, b in pairwise(bounds)] for record in records]
        write(sink, split)
    file = TFRecordFile(path)
    assert len(file) == len(records)
    assert list(file) == records
    for i in range(-len(records), len(records)):
        assert file[i] == records[i]
    for i in (len(records), -len(records) - 1):
        with pytest.raises(IndexError):
            file[i]
    assert file.verify() == len(records)


def test_every_cut_and_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    records = [b"", b"abc", bytes(40), b"x" * 7]
    whole = file_of(tmp_path / "whole", records).read_bytes()
    ends = {0, *(path_size(records[: i + 1]) for i in range(len(records)))}
    path = tmp_path / "broken"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        if cut in ends:  # a file of fewer records; the manifest knows their number
            assert TFRecordFile(path).verify() < len(records)
        else:
            with pytest.raises(StoreError, match="broken ends inside the record at byte"):
                TFRecordFile(path).verify()
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(StoreError, match="broken is damaged"):
            TFRecordFile(path).verify()


def test_threads_and_processes_share_a_file(tmp_path: Path) -> None:
    records = [random.Random(i).randbytes(i) for i in range(257)]
    file = TFRecordFile(file_of(tmp_path / "x", records))
    order = random.Random(0).sample(range(257), 257)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(file.__getitem__, order)) == [records[i] for i in order]
    with get_context("spawn").Pool(2) as processes:
        assert processes.map(file.__getitem__, order) == [records[i] for i in order]
        processes.close()
        processes.join()


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    file = TFRecordFile(file_of(tmp_path / "x", []))
    assert len(file) == 0
    assert list(file) == []

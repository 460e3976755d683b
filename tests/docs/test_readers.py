"""The pages taken by their word: readers written from them alone, which use none of the package's own."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c
import h5py  # noqa: TID253
import numpy as np
import pyarrow as pa  # noqa: TID253
import pyarrow.parquet as pq  # noqa: TID253
import pytest
import xxhash

from imgassets.formats import tfrecord
from imgassets.formats.index import column_checksums
from imgassets.sources.base import Source
from imgassets.sources.folder import class_folder
from imgassets.testing.making import arrays, content, folder, make
from tests.formats.sinks import stage

Field = dict[str, Any]
Read = Callable[[Path, str, Field, int], Iterator[bytes]]
"""The bytes of every row of a field, of the shard with this folder and stem, in which there are so many rows."""


def row_bytes(field: Field) -> int:
    return int(np.prod(field["shape"], dtype=int)) * np.dtype(field["dtype"]).itemsize


def npy(path: Path) -> tuple[int, Any]:
    """Place of the first value, and the array."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    start = 10 + struct.unpack_from("<H", data, 8)[0]
    shape = [int(n) for n in re.findall(rb"\d+", re.findall(rb"'shape': \(([^)]*)\)", data[:start])[0])]
    dtype = re.findall(rb"'descr': '([^']+)'", data[:start])[0].decode()
    return start, np.frombuffer(data, dtype, offset=start).reshape(shape)


def memmap(path: Path, stem: str, field: Field, rows: int) -> Iterator[bytes]:
    name = f"{stem}.{field['name']}"
    if field["kind"] == "array":
        start, values = npy(path / f"{name}.npy")
        assert start % 4096 == 0
        assert values.shape == (rows, *field["shape"])
        yield from (row.tobytes() for row in values)
    else:
        _, offsets = npy(path / f"{name}.offsets.npy")
        data = (path / f"{name}.bin").read_bytes()
        assert (offsets[0], offsets[-1], len(offsets)) == (0, len(data), rows + 1)
        yield from (data[a:b] for a, b in pairwise(offsets))


def hdf5(path: Path, stem: str, field: Field, rows: int) -> Iterator[bytes]:
    raw = (path / f"{stem}.h5").read_bytes()
    with h5py.File(path / f"{stem}.h5") as file:
        found = file[field["name"]]
        if field["kind"] == "array":
            start, size = found.id.get_offset(), row_bytes(field)
            assert rows * size < 4096 or start % 4096 == 0
            yield from (raw[start + k * size : start + (k + 1) * size] for k in range(rows))
        else:
            pieces = [(p.id.get_offset(), p.size) for _, p in sorted(found["blocks"].items())]
            data = b"".join(raw[start : start + size] for start, size in pieces)
            assert data == found["data"][:].tobytes()
            offsets = found["offsets"][:]
            yield from (data[a:b] for a, b in pairwise(offsets))


def parquet(path: Path, stem: str, field: Field, rows: int) -> Iterator[bytes]:
    raw, file = (path / f"{stem}.parquet").read_bytes(), pq.ParquetFile(path / f"{stem}.parquet")
    names = [file.schema.column(k).path for k in range(len(file.schema.names))]
    leaf = f"{field['name']}.bytes" if field["kind"] == "file" else field["name"]
    assert json.loads(file.schema_arrow.field(field["name"]).metadata[b"imgassets"]) == field
    sizes = file.read([f"{field['name']}_size"]).column(0).to_pylist() if field["kind"] == "file" else []
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        assert group.num_rows <= 1024
        chunk = group.column(names.index(leaf))
        mine, sizes = sizes[: group.num_rows], sizes[group.num_rows :]
        if field["kind"] == "text":
            continue
        nbytes = sum(mine) + 4 * len(mine) if field["kind"] == "file" else group.num_rows * row_bytes(field)
        at = chunk.data_page_offset + chunk.total_compressed_size - nbytes
        assert 0 < chunk.total_compressed_size - nbytes < 128
        for k in range(group.num_rows):
            size = row_bytes(field)
            if field["kind"] == "file":
                (size,) = struct.unpack_from("<I", raw, at)
                assert size == mine[k]
                at += 4
            yield raw[at : at + size]
            at += size
    if field["kind"] == "text":
        yield from (text.encode() for text in file.read([field["name"]]).column(0).to_pylist())


def ipc(path: Path, stem: str, field: Field, rows: int) -> Iterator[bytes]:
    data = pa.py_buffer((path / f"{stem}.arrow").read_bytes())
    reader = pa.ipc.open_file(data)
    assert json.loads(reader.schema.field(field["name"]).metadata[b"imgassets"]) == field
    for k in range(reader.num_record_batches):
        batch, said = reader.get_batch_with_custom_metadata(k)
        assert re.fullmatch(rb"\.{7,}", said[b"padding"])
        assert (batch.column(0).buffers()[1].address - data.address) % 64 == 0
        none, values, *rest = batch.column(field["name"]).buffers()
        assert none is None
        assert (values.address - data.address) % 8 == 0
        if field["kind"] == "array":
            size = row_bytes(field)
            yield from (values[j * size : (j + 1) * size].to_pybytes() for j in range(len(batch)))
        else:
            ends = np.frombuffer(values, "<i8", len(batch) + 1).tolist()
            yield from (rest[0][a:b].to_pybytes() for a, b in pairwise(ends))


def tar(path: Path, stem: str, field: Field, rows: int) -> Iterator[bytes]:
    data, name = (path / f"{stem}.tar").read_bytes(), f".store/{stem}.{field['name']}"
    assert data[-1024:] == bytes(1024)
    if field["kind"] == "array" and not field["shape"]:
        yield from (row.tobytes() for row in npy(path / f"{name}.npy")[1])
        return
    for start, size in npy(path / f"{name}.spans.npy")[1].tolist():
        head = data[start - 512 : start]
        assert int(head[124:135], 8) == size
        assert re.match(rb"\d{9}\.", head)
        skip = 10 + struct.unpack_from("<H", data, start + 8)[0] if field["kind"] == "array" else 0
        yield data[start + skip : start + size]


@pytest.mark.parametrize("read", [memmap, hdf5, parquet, ipc, tar])
@pytest.mark.parametrize("kind", ["arrays", "files"])
def test_an_image_store_is_read_by_its_page(tmp_path: Path, read: Read, kind: str) -> None:
    source: Source = arrays(300) if kind == "arrays" else class_folder(folder(tmp_path / "images"))
    path = make(tmp_path, source, read.__name__, images_per_file=200)
    own = path / ".store" if read in {parquet, ipc, tar} else path
    said, wanted = json.loads((own / "store.json").read_text()), content(source)
    assert [json.loads((own / f"shard-{k:06d}.json").read_text()) for k in range(len(said["shards"]))] == said["shards"]
    for field in said["fields"]:
        found = [row for shard in said["shards"] for row in read(path, shard["stem"], field, shard["rows"])]
        rows = wanted[field["name"]]
        if field["kind"] == "array":
            rows = [row.tobytes() for row in np.asarray(rows).astype(field["dtype"])]
        assert found == list(rows)
    for record in (record for shard in said["shards"] for record in shard["files"]):
        assert xxhash.xxh3_128_hexdigest((path / record["name"]).read_bytes()) == record["xxh3_128"]


def test_a_manifest_is_proven_by_its_page(tmp_path: Path) -> None:
    path = make(tmp_path, arrays(5), "memmap")
    said = json.loads((path / ".imgassets.json").read_text())

    def checksum(value: Any) -> str:
        return xxhash.xxh3_128_hexdigest(
            json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        )

    assert said["imgassets"] == 1
    assert said["fingerprint"] == checksum(said["recipe"])
    assert said.pop("checksum") == checksum(said)
    assert [record["name"] for record in said["files"]] == sorted(
        file.name for file in path.iterdir() if file.name != ".imgassets.json"
    )


def test_checksums_of_columns_are_those_of_the_page() -> None:
    def part(array: Any) -> bytes:
        return struct.pack("<q", array.nbytes) + array.tobytes()

    present, sizes, text = np.packbits([1, 0, 1]), np.array([2, 0, 1], "<i8"), np.frombuffer("äb".encode(), "u1")
    numbers = np.array([7, 0, 9], "<i8")
    columns = {
        "number": (pa.array([7, None, 9], pa.int16()), part(present) + part(numbers)),
        "text": (pa.array(["ä", None, "b"]).dictionary_encode(), part(present) + part(sizes) + part(text)),
        "truth": (pa.array([True, None, False]), part(present) * 2 + part(np.array([1, 0, 0], "<i8"))),
        "list": (
            pa.array([[7, 0], None, [9]], pa.list_(pa.int8())),
            part(present) + part(sizes) + part(np.packbits([1, 1, 1])) + part(numbers),
        ),
    }
    found = column_checksums(pa.table({name: column for name, (column, _) in columns.items()}))
    assert found == {name: xxhash.xxh3_128_hexdigest(parts) for name, (_, parts) in columns.items()}


def test_tfrecords_are_framed_as_their_page_says(tmp_path: Path) -> None:
    written = stage(tmp_path)
    records = [b"", b"a", b"xyz" * 1000]
    with written.create("shard") as sink:
        tfrecord.write(sink, [(record,) for record in records])
    data, found = written.read("shard"), []

    def masked(some: bytes) -> int:
        crc = google_crc32c.value(some)
        return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32

    while data:
        length, head = struct.unpack_from("<QI", data)
        record, (body,) = data[12 : 12 + length], struct.unpack_from("<I", data, 12 + length)
        assert (head, body) == (masked(data[:8]), masked(record))
        found.append(record)
        data = data[16 + length :]
    assert found == records

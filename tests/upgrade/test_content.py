"""The comparison of contents sees other values, and only these."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Callable
from typing import Any

import h5py  # noqa: TID253
import numpy as np
import pyarrow as pa  # noqa: TID253
import pyarrow.parquet as pq  # noqa: TID253
import pytest
from PIL import Image

from tests.upgrade.content import difference


def npz(values: Any, other: bool) -> bytes:
    sink = io.BytesIO()
    (np.savez_compressed if other else np.savez)(sink, values=values)
    return sink.getvalue()


def parquet(values: Any, other: bool) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"values": values.ravel().tolist()}), sink, compression="zstd" if other else "none")
    return sink.getvalue()


def arrow(values: Any, other: bool) -> bytes:
    table, sink = pa.table({"values": values.ravel()}), io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3 if other else None)
    return sink.getvalue()


def hdf5(values: Any, other: bool) -> bytes:
    sink = io.BytesIO()
    with h5py.File(sink, "w") as file:
        file.create_dataset("a/values", data=values, chunks=True if other else None)
    return sink.getvalue()


def png(values: Any, other: bool) -> bytes:
    sink = io.BytesIO()
    Image.fromarray((values * 9).astype(np.uint8)).save(sink, "PNG", compress_level=0 if other else 9)
    return sink.getvalue()


def document(values: Any, other: bool) -> bytes:
    return json.dumps({"rows": values.tolist(), "bytes": 1 + other}, indent=other or None).encode()


def table(values: Any, other: bool) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, ["x", "y"], quoting=csv.QUOTE_ALL, lineterminator="\r\n" if other else "\n")
    writer.writeheader()
    writer.writerows({"x": float(value), "y": "tench"} for value in values.ravel())
    return sink.getvalue().encode()


def tar(values: Any, other: bool) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as packed:
        info = tarfile.TarInfo("a.npz")
        data = npz(values, other)
        info.size, info.mtime = len(data), int(other)
        packed.addfile(info, io.BytesIO(data))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        *(("a.npz", npz), ("a.parquet", parquet), ("a.arrow", arrow), ("a.h5", hdf5)),
        *(("a.png", png), ("a.json", document), ("a.csv", table), ("a.tar", tar)),
    ],
)
def test_other_values_are_seen_and_other_bytes_are_not(name: str, write: Callable[[Any, bool], bytes]) -> None:
    values = np.arange(1.0, 13.0).reshape(3, 4)
    changed = values.copy()
    changed[1, 2] += 1
    then, otherwise, now = write(values, False), write(values, True), write(changed, False)
    assert then != otherwise
    assert difference(name, then, otherwise) == ""
    assert difference(name, then, now).startswith(name)
    assert difference(name, then, now, 0.01).startswith(name)
    assert difference(name, then, now, 0.2) == ""
    assert difference(name, then, now, 0.01, re.compile("a")) == ""
    assert difference(name, then, write(values[:2], False), 0.5, re.compile("a")).startswith(name)

"""What files say, whichever version of a library wrote them: values without compression, padding and checksums."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # noqa: TID253
import numpy as np
import pyarrow.ipc  # noqa: TID253
import pyarrow.parquet  # noqa: TID253
from PIL import Image

PICTURES = (b"\x89PNG", b"\xff\xd8\xff")
ABOUT_BYTES = {"bytes", "checksum", "xxh3_128"}
"""Keys of JSON documents that say how the bytes are, not what they say."""


def values(name: str, data: bytes) -> Iterator[tuple[str, Any]]:
    """Each value of a file with its place in it: arrays, numbers, texts, and bytes where no more is known."""
    suffix = Path(name).suffix
    if suffix == ".tar":
        with tarfile.open(fileobj=io.BytesIO(data)) as packed:
            for member in packed:
                file = packed.extractfile(member)
                assert file is not None
                yield from values(f"{name}/{member.name}", file.read())
    elif suffix == ".json":
        yield from _document(name, json.loads(data))
    elif suffix == ".csv" and data.startswith(b'"'):
        for row, record in enumerate(csv.DictReader(io.StringIO(data.decode()))):
            yield from _document(f"{name}/{row}", {key: _number(text) for key, text in record.items()})
    elif suffix == ".npy":
        yield name, np.load(io.BytesIO(data), allow_pickle=False)
    elif suffix == ".npz":
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            yield from ((f"{name}/{key}", arrays[key]) for key in arrays.files)
    elif suffix == ".h5":
        with h5py.File(io.BytesIO(data)) as file:
            found: list[tuple[str, Any]] = []
            file.visititems(lambda key, item: found.append((f"{name}/{key}", item)))
            for key, item in found:
                if isinstance(item, h5py.Dataset):
                    yield key, item[()]
    elif suffix in {".parquet", ".arrow"}:
        reader = pyarrow.parquet.read_table if suffix == ".parquet" else _arrow
        yield from _document(name, reader(io.BytesIO(data)).to_pydict())
    elif data.startswith(PICTURES):
        yield name, np.asarray(Image.open(io.BytesIO(data)))
    else:
        yield name, data


def difference(name: str, then: bytes, now: bytes, tolerance: float = 0, but: re.Pattern[str] | None = None) -> str:
    """Where two files of one name say something else; empty if they do not.

    `tolerance` is relative to the largest value of an array, for what was computed in floating point; where `but` is
    found in a value's place, only its shape and type are looked at.
    """
    if then == now:
        return ""
    before, after = dict(values(name, then)), dict(values(name, now))
    if before.keys() != after.keys():
        return f"{name}: {sorted(before.keys() ^ after.keys())[:3]} is in one only"
    for key, value in before.items():
        shapes_only = but is not None and but.search(key)
        if not _same(value, after[key], np.inf if shapes_only else tolerance):
            return key
    return ""


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, (bytes, str, type(None))):
        return bool(a == b)
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    if x.dtype.kind not in "fiu" or not tolerance:
        return np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    if tolerance == np.inf:
        return True
    x, y = x.astype(float), y.astype(float)
    return np.allclose(x, y, rtol=0, atol=tolerance * float(np.abs(x).max(initial=0)), equal_nan=True)


def _arrow(file: io.BytesIO) -> Any:
    return pyarrow.ipc.open_file(file).read_all()


def _document(place: str, document: Any) -> Iterator[tuple[str, Any]]:
    items = enumerate(document) if isinstance(document, list) else document.items()
    for key, item in items:
        if isinstance(item, (dict, list)) and item:
            yield from _document(f"{place}/{key}", item)
        elif key not in ABOUT_BYTES:
            yield f"{place}/{key}", item


def _number(text: str) -> Any:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text

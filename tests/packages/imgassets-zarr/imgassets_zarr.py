"""Image stores whose shards are Zarr groups, by the core specification of Zarr version 3.

`shard-000000.zarr/` is a group with an array for each field, uncompressed and in one chunk, so that a row is a run of
plain bytes. A field of variable size is a group of two arrays: `data`, uint8, its rows end to end, and `offsets`, int64
(rows + 1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from imgassets.columns import Columns, Field, as_bytes
from imgassets.commit import Stage
from imgassets.errors import BadInput, StoreError
from imgassets.stores.codec import Codec
from imgassets.stores.extents import Extent, Index, Spans, StoreFiles, one_run

TYPES = {
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("bool", "float16", "float32", "float64", "complex64", "complex128"),
}
"""Data types of the core specification, by NumPy's names, which are the same."""


def write(
    stage: Stage, stem: str, fields: Sequence[Field], rows: int, blocks: Iterable[Columns], options: Mapping[str, Any]
) -> None:
    """Write one shard of `rows` rows."""
    sizes: dict[str, list[int]] = {field.name: [0] for field in fields if field.ragged}
    with ExitStack() as stack:
        sinks = {f.name: stack.enter_context(stage.create(_chunk(_place(stem, f), _shape(f, rows)))) for f in fields}
        for block in blocks:
            for field in fields:
                column = block[field.name]
                if field.ragged:
                    sinks[field.name].writev(column)  # type: ignore[arg-type]
                    sizes[field.name] += map(len, column)
                else:
                    sinks[field.name].write(as_bytes(field, column).data)
    for name, document in _documents(stem, fields, rows, {name: sum(of) for name, of in sizes.items()}):
        with stage.create(name) as sink:
            sink.write(document)
    for name, lengths in sizes.items():
        with stage.create(_chunk(f"{stem}.zarr/{name}/offsets", (rows + 1,))) as sink:
            sink.write(np.cumsum(lengths, dtype="<i8").tobytes())


def weigh(
    fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
) -> int:
    """Bytes of a shard's files."""
    totals = {f.name: int(sizes[f.name].sum()) for f in fields if f.ragged}
    documents = sum(len(document) for _, document in _documents("", fields, rows, totals))
    return documents + sum(totals[f.name] + 8 * (rows + 1) if f.ragged else rows * f.nbytes for f in fields)


def extents(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
    """Where the rows of a shard lie."""
    for field in fields:
        chunk = _chunk(_place(stem, field), _shape(field, rows))
        if not field.ragged:
            yield field.name, one_run(chunk, 0, field.nbytes)
            continue
        with files.open(_chunk(f"{stem}.zarr/{field.name}/offsets", (rows + 1,))) as file:
            offsets = np.frombuffer(file.read(), "<i8")
        if len(offsets) != rows + 1:
            raise StoreError(f"{chunk} has {len(offsets)} offsets for {rows} rows.")
        yield field.name, Spans(chunk, offsets[:-1], np.diff(offsets))


def _place(stem: str, field: Field) -> str:
    return f"{stem}.zarr/{field.name}/data" if field.ragged else f"{stem}.zarr/{field.name}"


def _shape(field: Field, rows: int) -> tuple[int, ...]:
    return (0,) if field.ragged else (rows, *field.shape)


def _chunk(array: str, shape: Sequence[int]) -> str:
    """The only one of an array."""
    return "/".join([array, "c", *("0" for _ in shape)])


def _documents(stem: str, fields: Sequence[Field], rows: int, totals: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each `zarr.json`."""
    group = {"zarr_format": 3, "node_type": "group"}
    yield f"{stem}.zarr/zarr.json", _json(group | {"attributes": {}})
    for field in fields:
        about = {"imgassets": field.to_json()}
        if not field.ragged:
            shape = (rows, *field.shape)
            yield f"{_place(stem, field)}/zarr.json", _array(shape, np.dtype(field.dtype).name, about)
            continue
        yield f"{stem}.zarr/{field.name}/zarr.json", _json(group | {"attributes": about})
        yield f"{stem}.zarr/{field.name}/data/zarr.json", _array((totals[field.name],), "uint8", {})
        yield f"{stem}.zarr/{field.name}/offsets/zarr.json", _array((rows + 1,), "int64", {})


def _array(shape: tuple[int, ...], dtype: str, attributes: Mapping[str, Any]) -> bytes:
    if dtype not in TYPES:
        raise BadInput(f"Zarr has no numbers of dtype {dtype}: use memmap.")
    return _json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(size, 1) for size in shape]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": False if dtype == "bool" else 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "attributes": attributes,
        }
    )


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


CODEC = Codec(
    name="zarr",
    version=1,
    description="Images as Zarr v3 groups that array libraries read, at home and in object stores.",
    write=write,
    weigh=weigh,
    extents=extents,
    kinds=frozenset({"zarr"}),
)

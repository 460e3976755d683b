"""Arrow IPC files: a shard is one `.arrow` file of record batches that any Arrow library reads without copying.

Fixed-size fields are `fixed_size_binary`, scalars their own type, files `large_binary`, texts `large_string`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from imgassets.columns import Column, Columns, Field
from imgassets.commit import Stage
from imgassets.errors import StoreError
from imgassets.formats.one_way import OneWay
from imgassets.images.sniff import extension
from imgassets.stores import card
from imgassets.stores.codec import Codec
from imgassets.stores.codecs.arrow import array_of, column_of, schema_of
from imgassets.stores.extents import Blocks, Extent, Index, Runs, Spans, StoreFiles
from imgassets.stores.storefile import StoreInfo

NPY = "npy"
"""What a shard says of its files where one is an array, which no program takes for an image."""
ALIGNMENT = 64
"""Values of a record batch begin at a multiple of this many bytes, a cache line: rows are then copied 7 % faster."""
SCHEMA, MESSAGE = 550, 110
"""Bytes beside the data: of each field, in the schema before and after; of each record batch and field."""


def write(
    stage: Stage, stem: str, fields: Sequence[Field], rows: int, blocks: Iterable[Columns], options: Mapping[str, Any]
) -> Sequence[str]:
    """Write one shard, a record batch for every block; says if there is a file that is no image."""
    import pyarrow as pa

    schema = schema_of(fields)
    with (
        stage.create(f"{stem}.arrow") as sink,
        pa.PythonFile(OneWay(sink), mode="w") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        heads: tuple[int, int] | None = None
        arrays_among = False
        for block in blocks:
            arrays_among |= any(extension(row) == NPY for f in fields if f.kind == "file" for row in block[f.name])
            arrays = [array_of(field, block[field.name]) for field in fields]
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
            first, head = heads = heads or _heads(batch)
            start = sink.tell() + head if sink.tell() else first
            writer.write_batch(batch, _padding(-start % ALIGNMENT))
    return [NPY] if arrays_among else []


def _heads(batch: Any) -> tuple[int, int]:
    """Bytes before the values of a file's first record batch, and from the end of one batch to the values of the next.

    They are those of any batch of the schema that has rows, with the least padding: Arrow does not tell them before.
    """
    import pyarrow as pa

    written, ends = pa.BufferOutputStream(), []
    with pa.ipc.new_file(written, batch.schema) as writer:
        for _ in range(2):
            writer.write_batch(batch.slice(0, 1), _padding(0))
            ends.append(written.tell())
    data = written.getvalue()
    reader = pa.ipc.open_file(data)
    first, second = (_values(reader.get_batch(k).column(0)) - data.address for k in range(2))
    return first, second - ends[0]


def _padding(more: int) -> dict[bytes, bytes]:
    """Metadata that makes a record batch's head `more` bytes longer, a multiple of 8: what Arrow's writer aligns to."""
    return {b"padding": b"." * (7 + more)}


def weigh(
    fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
) -> int:
    """Bytes of a shard's file, to within what its messages pad."""
    data = sum(int(sizes[f.name].sum()) + 8 * (rows + blocks) if f.ragged else rows * f.nbytes for f in fields)
    return data + SCHEMA * len(fields) + blocks * len(fields) * MESSAGE


def extents(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
    """Where the rows of a shard lie: the buffers of its record batches."""
    import pyarrow as pa

    name = f"{stem}.arrow"
    source: Any
    with files.mapped(name) as view, files.open(name) if view is None else pa.BufferReader(view) as source:
        reader = pa.ipc.open_file(source)
        if not reader.schema.equals(schema_of(fields)):
            raise StoreError(f"{name} has columns {reader.schema.names}, which are not the store's: rebuild it.")
        batches = [reader.get_batch(k) for k in range(reader.num_record_batches)]
        starts = np.cumsum([0, *(len(batch) for batch in batches)])
        if starts[-1] != rows:
            raise StoreError(f"{name} holds {starts[-1]} rows, expected {rows}: rebuild the store.")
        for field in fields:
            if view is None:
                yield field.name, Blocks(name, starts[:-1], partial(_load, files, name, field))
                continue
            base = _base(source)
            columns = [batch.column(field.name) for batch in batches]
            if field.ragged:
                spans = [_spans(column, base) for column in columns]
                yield field.name, Spans(name, *(np.concatenate(part) for part in zip(*spans, strict=True)))
            else:
                offsets = np.array([_values(column) - base for column in columns], np.int64)
                strides = np.full(len(batches), field.nbytes, np.int64)
                yield field.name, Runs(name, starts[:-1], offsets, strides)


def _values(column: Any) -> int:
    """Address of a column's values."""
    return int(column.buffers()[1].address)


def _base(source: Any) -> int:
    """Address of the first byte of a mapped file."""
    source.seek(0)
    return int(source.read_buffer(1).address)


def _spans(column: Any, base: int) -> tuple[Index, Index]:
    _, ends, data = column.buffers()
    offsets = np.frombuffer(ends, np.int64, len(column) + 1)
    return offsets[:-1] + (data.address - base if data else 0), np.diff(offsets)


def _load(files: StoreFiles, name: str, field: Field, k: int) -> Column:
    import pyarrow as pa

    source: Any
    with files.open(name) as source:
        return column_of(field, pa.ipc.open_file(source).get_batch(k).column(field.name))


def beside(info: StoreInfo, split: str) -> Mapping[str, bytes]:
    """What `datasets` is told: columns have the types it knows but for images, and the names of classes."""
    features = []
    for field in info.fields:
        if field.kind == "file":
            features.append(card.plain(field.name, "binary" if NPY in info.parts else "image"))
        elif field.kind == "text":
            features.append(card.plain(field.name, "large_string"))
        elif field.scalar:
            features.append(card.label(field.name, field, info.classes))
        else:
            features.append(card.plain(field.name, f"fixed_size_binary[{field.nbytes}]"))
    return card.card(split, "*.arrow", features)


CODEC = Codec(
    name="ipc",
    version=3,
    description="Images as Arrow IPC shards, read without copying by any Arrow library.",
    write=write,
    weigh=weigh,
    extents=extents,
    reads=(2, 1),
    keeps=(2,),
    tidy=True,
    beside=beside,
    kinds=frozenset({"arrow"}),
)

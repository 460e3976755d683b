"""Parquet: a shard is one `.parquet` file with a checksum on every page.

Uncompressed (the default), a row group is one plain page per column, so rows are found by arithmetic and read without
decoding, as from a memory map. `options: {compression: zstd}` makes smaller files that are read a row group at a time.
Files of variable size have their sizes in a column `<field>_size`, which is what the arithmetic needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from imgassets.columns import Columns, Field
from imgassets.commit import Stage
from imgassets.errors import StoreError
from imgassets.formats.one_way import OneWay
from imgassets.stores.codec import Codec
from imgassets.stores.codecs.arrow import array_of, column_of, schema_of
from imgassets.stores.extents import Blocks, Extent, Index, Runs, Spans, StoreFiles, Values

GROUP_ROWS = 1024
"""Most rows of a row group."""
HEADER = 128
"""A page's header is shorter than this, in bytes."""
SCHEMA, CHUNK = 600, 160
"""Bytes beside the values: of each column, in the schema; of each column of a row group, header and footer."""


def write(
    stage: Stage, stem: str, fields: Sequence[Field], rows: int, blocks: Iterable[Columns], options: Mapping[str, Any]
) -> None:
    """Write one shard, a row group for every block of up to 1024 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    every = [*fields, *(_size_of(field) for field in fields if field.kind == "file")]
    schema = schema_of(every, _huggingface(fields, options.get("classes", ())))
    with (
        stage.create(f"{stem}.parquet") as sink,
        pa.PythonFile(OneWay(sink), mode="w") as file,
        pq.ParquetWriter(
            file,
            schema,
            compression=options.get("compression", "none"),
            use_dictionary=False,
            write_statistics=[f.name for f in every if f.scalar],
            data_page_size=(1 << 31) - 1,
            write_batch_size=GROUP_ROWS,
            write_page_checksum=True,
        ) as writer,
    ):
        for block in blocks:  # at most GROUP_ROWS rows
            arrays = [array_of(field, block[field.name]) for field in fields]
            arrays += [pa.array(list(map(len, block[f.name])), pa.int64()) for f in fields if f.kind == "file"]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=GROUP_ROWS)


def weigh(
    fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
) -> int:
    """Bytes of a shard's file without compression, to within what its pages' headers vary."""
    data = columns = 0
    for field in fields:
        data += int(sizes[field.name].sum()) + 4 * rows if field.ragged else rows * field.nbytes
        columns += 2 if field.kind == "file" else 1
        data += 8 * rows if field.kind == "file" else 0
    # what Hugging Face reads stands in the file's metadata twice, the second time in base64
    known = sum(len(text) for text in _huggingface(fields, options.get("classes", ())).values())
    return data + SCHEMA * columns + blocks * columns * CHUNK + known * 7 // 3


def extents(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
    """Where the rows of a shard lie."""
    import pyarrow.parquet as pq

    name = f"{stem}.parquet"
    with files.open(name) as raw:
        file = pq.ParquetFile(raw)
        about = file.metadata
        place = {column: k for k, column in enumerate(file.schema_arrow.names)}
        if about.num_rows != rows or any(field.name not in place for field in fields):
            raise StoreError(
                f"{name} holds {about.num_rows} rows of {list(place)}, expected {rows}: rebuild the store."
            )
        groups = range(about.num_row_groups)
        counts = np.array([about.row_group(g).num_rows for g in groups], np.int64)
        starts = np.cumsum(counts) - counts
        for field in fields:
            chunks = [about.row_group(g).column(place[field.name]) for g in groups]
            plain = all(c.compression == "UNCOMPRESSED" and not c.has_dictionary_page for c in chunks)
            if field.scalar:
                yield field.name, Values(name, partial(_column, files, name, field))
            elif field.kind == "text" or not plain:
                yield field.name, Blocks(name, starts, partial(_column, files, name, field))
            elif field.kind == "file":
                sizes = _column(files, name, _size_of(field))
                yield field.name, _spans(name, chunks, counts, starts, sizes)
            else:
                begins = [_values(name, c, n * field.nbytes) for c, n in zip(chunks, counts, strict=True)]
                yield field.name, Runs(name, starts, np.array(begins), np.full(len(counts), field.nbytes, np.int64))


def _spans(name: str, chunks: Sequence[Any], counts: Index, starts: Index, sizes: Index) -> Spans:
    """A plain page of byte strings holds each with its length, 4 bytes, before it."""
    ends = np.cumsum(sizes + 4)
    before = ends - sizes - 4
    offsets = before + 4
    for chunk, count, start in zip(chunks, counts, starts, strict=True):
        last = start + count - 1
        offsets[start : start + count] += _values(name, chunk, int(ends[last] - before[start])) - before[start]
    return Spans(name, offsets, sizes)


def _values(name: str, chunk: Any, nbytes: int) -> int:
    """Position of the first value of a column chunk that is one plain page of `nbytes` bytes of values."""
    length = chunk.total_compressed_size - nbytes
    if not 0 < length < HEADER:
        raise StoreError(f"{name} has more than one page in a row group: it was not written by this library.")
    return int(chunk.data_page_offset + length)


def _column(files: StoreFiles, name: str, field: Field, group: int | None = None) -> Any:
    """All rows of a field, or those of one row group."""
    import pyarrow.parquet as pq

    with files.open(name) as raw:
        file = pq.ParquetFile(raw, page_checksum_verification=True)
        table = file.read([field.name]) if group is None else file.read_row_group(group, [field.name])
    return column_of(field, table.column(0).combine_chunks())


def _size_of(field: Field) -> Field:
    return Field(f"{field.name}_size", "array", "<i8")


def _huggingface(fields: Sequence[Field], classes: Sequence[str]) -> dict[str, str]:
    """What Hugging Face `datasets` looks for: files are images, labels have names."""
    features: dict[str, Any] = {}
    for field in fields:
        if field.kind == "file":
            features[field.name] = {"_type": "Image"}
            features[f"{field.name}_size"] = {"dtype": "int64", "_type": "Value"}
        elif field.kind == "text":
            features[field.name] = {"dtype": "large_string", "_type": "Value"}
        elif field.name == "label" and field.scalar and classes:
            features[field.name] = {"names": list(classes), "_type": "ClassLabel"}
        else:
            return {}
    return {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}


CODEC = Codec(
    name="parquet",
    version=1,
    description="Images as Parquet shards that query engines and Hugging Face `datasets` read.",
    write=write,
    weigh=weigh,
    extents=extents,
    kinds=frozenset({"parquet"}),
)

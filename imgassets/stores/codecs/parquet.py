"""Parquet: a shard is one `.parquet` file with a checksum on every page, and nothing else lies in their folder.

Uncompressed (the default), a row group is one plain page per column, so rows are found by arithmetic and read without
decoding, as from a memory map. `options: {compression: zstd}` makes smaller files that are read a row group at a time.
Files of variable size have their sizes in a column `<field>_size`, which is what the arithmetic needs.

Columns are what Hugging Face `datasets` knows as images and as named labels: a file is a struct of its bytes and its
name, and what it has a feature for may be null as far as the schema goes, though nothing is.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from imgassets.columns import Columns, Field
from imgassets.commit import Stage
from imgassets.errors import StoreError
from imgassets.formats.one_way import OneWay
from imgassets.images.sniff import extension
from imgassets.stores.codec import Codec, split_stem
from imgassets.stores.codecs.arrow import array_of, column_of, schema_of
from imgassets.stores.extents import Blocks, Extent, Index, Runs, Spans, StoreFiles, Values

GROUP_ROWS = 1024
"""Most rows of a row group."""
HEADER = 128
"""A page's header is shorter than this, in bytes."""
BYTES, PATH_COLUMN = "bytes", "path"
"""Of the struct that a file is, what Hugging Face calls them."""
PATH = 32
"""About how long a file's name is, in bytes."""
SCHEMA, CHUNK = 600, 160
"""Bytes beside the values: of each column, in the schema; of each column of a row group, header and footer."""


def write(
    stage: Stage, stem: str, fields: Sequence[Field], rows: int, blocks: Iterable[Columns], options: Mapping[str, Any]
) -> None:
    """Write one shard, a row group for every block of up to 1024 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    every = [*fields, *(_size_of(field) for field in fields if field.kind == "file")]
    begun = iter(blocks)
    first = next(begun)
    features = _features(fields, options.get("classes", ()), first)
    schema = _schema(every, features)
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
        for block in chain([first], begun):  # at most GROUP_ROWS rows
            arrays = [_files(block, f) if f.kind == "file" else array_of(f, block[f.name]) for f in fields]
            arrays += [pa.array(list(map(len, block[f.name])), pa.int64()) for f in fields if f.kind == "file"]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=GROUP_ROWS)


def weigh(
    fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
) -> int:
    """Bytes of a shard's file without compression, to within what its pages' headers vary."""
    data = columns = 0
    for field in fields:
        data += int(sizes[field.name].sum()) + 4 * rows if field.ragged else rows * field.nbytes
        columns += 3 if field.kind == "file" else 1
        data += (8 + PATH) * rows if field.kind == "file" else 0
    # what Hugging Face reads stands in the file's metadata twice, the second time in base64
    known = len(_huggingface(_features(fields, options.get("classes", ()))))
    return data + SCHEMA * columns + blocks * columns * CHUNK + known * 7 // 3


def extents(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
    """Where the rows of a shard lie."""
    import pyarrow.parquet as pq

    name = f"{stem}.parquet"
    with files.open(name) as raw:
        file = pq.ParquetFile(raw)
        about = file.metadata
        place = {about.schema.column(k).path: k for k in range(about.num_columns)}
        leaf = {field.name: _leaf(field, place) for field in fields}
        if about.num_rows != rows or not place.keys() >= set(leaf.values()):
            raise StoreError(
                f"{name} holds {about.num_rows} rows of {list(place)}, expected {rows}: rebuild the store."
            )
        groups = range(about.num_row_groups)
        counts = np.array([about.row_group(g).num_rows for g in groups], np.int64)
        starts = np.cumsum(counts) - counts
        for field in fields:
            chunks = [about.row_group(g).column(place[leaf[field.name]]) for g in groups]
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    with files.open(name) as raw:
        file = pq.ParquetFile(raw, page_checksum_verification=True)
        leaf = [_leaf(field, [file.metadata.schema.column(k).path for k in range(file.metadata.num_columns)])]
        table = file.read(leaf) if group is None else file.read_row_group(group, leaf)
    column: Any = table.column(0).combine_chunks()
    return column_of(field, column.field(0) if pa.types.is_struct(column.type) else column)


def _leaf(field: Field, there: Container[str]) -> str:
    """The column with a field's values: a file's bytes, which had one of its own in parquet/1."""
    within = f"{field.name}.{BYTES}"
    return within if field.kind == "file" and within in there else field.name


def _size_of(field: Field) -> Field:
    return Field(f"{field.name}_size", "array", "<i8")


def _features(
    fields: Sequence[Field], classes: Sequence[str], block: Columns | None = None
) -> Mapping[str, Mapping[str, Any]]:
    """What Hugging Face `datasets` cannot see by a column's type: files that are images, and the names of labels."""
    features: dict[str, Mapping[str, Any]] = {}
    for field in fields:
        if field.kind == "file" and (block is None or extension(block[field.name][0]) != "npy"):
            features[field.name] = {"_type": "Image"}
        elif field.name == "label" and (field.dtype, field.shape) == ("<i8", ()) and classes:
            features[field.name] = {"names": list(classes), "_type": "ClassLabel"}
    return features


def _huggingface(features: Mapping[str, Any]) -> str:
    return json.dumps({"info": {"features": features}}, ensure_ascii=False)


def _schema(fields: Sequence[Field], features: Mapping[str, Any]) -> Any:
    """As `schema_of`, but that files are structs; a feature is only seen in a column whose type is exactly its own."""
    import pyarrow as pa

    plain = schema_of(fields, {"huggingface": _huggingface(features)} if features else None)
    for k, field in enumerate(fields):
        column = plain.field(k)
        if field.kind == "file":
            column = column.with_type(pa.struct([pa.field(BYTES, pa.binary()), pa.field(PATH_COLUMN, pa.string())]))
        plain = plain.set(k, column.with_nullable(field.kind == "file" or field.name in features))
    return plain


def _files(block: Columns, field: Field) -> Any:
    """Files with their names, where samples have such."""
    import pyarrow as pa

    names = [bytes(name).decode() for name in block["name"]] if "name" in block else [None] * len(block[field.name])
    data = pa.array([bytes(row) for row in block[field.name]], pa.binary())
    return pa.StructArray.from_arrays([data, pa.array(names, pa.string())], names=[BYTES, PATH_COLUMN])


CODEC = Codec(
    name="parquet",
    version=2,
    description="Images as Parquet shards that query engines and Hugging Face `datasets` read.",
    write=write,
    weigh=weigh,
    extents=extents,
    reads=(1,),
    keeps=(1,),
    stem=split_stem,
    tidy=True,
    kinds=frozenset({"parquet"}),
)

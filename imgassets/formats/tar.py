"""Tar shards that webdataset reads as they are, with an index beside them for random access.

A sample's members share a key, its number in the store: `000000042.npy` (or `.jpg`, `.png`, … for files kept as they
were), `000000042.cls` for a whole number, `<field>.<extension>` for any other field. `shard-000000.image.spans.npy`,
int64 (rows, 2), says where the image files lie; `shard-000000.label.npy` repeats the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from imgassets.columns import Column, Columns, Field, as_bytes
from imgassets.commit import Stage
from imgassets.errors import StoreError
from imgassets.formats import npy
from imgassets.formats.extents import Extent, Files, Index, Spans, Values, one_run
from imgassets.formats.ustar import BLOCK, END, header, padding
from imgassets.sniff import extension

NAME = "tar/1"
JOINED = 1 << 16
"""Bytes; to copy a larger sample into one buffer takes longer than to write its parts one by one."""


def write(
    stage: Stage, stem: str, fields: Sequence[Field], rows: int, blocks: Iterable[Columns], options: Mapping[str, Any]
) -> None:
    """Write one shard; `options["numbers"]` are the samples' numbers (default: from 0)."""
    numbers_left = iter(options.get("numbers", range(rows)))
    spans: dict[str, list[tuple[int, int]]] = {field.name: [] for field in fields if not field.scalar}
    numbers: dict[str, list[Column]] = {field.name: [] for field in fields if field.scalar}
    with stage.create(f"{stem}.tar") as sink:
        for block in blocks:
            members = [_members(field, block[field.name]) for field in fields]
            for field in fields:
                if field.scalar:
                    numbers[field.name].append(block[field.name])
            for sample in zip(*members, strict=True):
                parts: list[Any] = []
                number = next(numbers_left)
                position = sink.tell()
                for field, (suffix, head, body) in zip(fields, sample, strict=True):
                    size = len(head) + len(body)
                    if not field.scalar:
                        spans[field.name].append((position + BLOCK, size))
                    parts += (header(f"{number:09d}.{suffix}", size), head, body, padding(size))
                    position += BLOCK + size + -size % BLOCK
                if sum(map(len, parts)) < JOINED:
                    sink.write(b"".join(parts))
                else:
                    sink.writev(parts)
        sink.write(END)
    for name, pairs in spans.items():
        with stage.create(f"{stem}.{name}.spans.npy") as sink:
            sink.write(npy.dump(np.array(pairs, np.int64)))
    for field in fields:
        if field.scalar:
            with stage.create(f"{stem}.{field.name}.npy") as sink:
                values = np.concatenate([np.asarray(column) for column in numbers[field.name]])
                sink.write(npy.dump(as_bytes(field, values).view(field.dtype).reshape(-1)))


def weigh(
    fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
) -> int:
    """Bytes of a shard's files; whole numbers have less than 512 digits."""
    total = len(END)
    for field in fields:
        if field.scalar and np.dtype(field.dtype).kind in "biu":
            total += rows * 2 * BLOCK
        else:
            body = sizes[field.name] if field.ragged else np.full(rows, len(_npy_header(field)) + field.nbytes)
            total += int((BLOCK + body + -body % BLOCK).sum())
        shape = (rows,) if field.scalar else (rows, 2)
        total += len(npy.header(np.int64, shape, 64)) + rows * (field.nbytes if field.scalar else 16)
    return total


def extents(files: Files, stem: str, fields: Sequence[Field], rows: int) -> Mapping[str, Extent]:
    """Where the rows of a shard lie."""
    return dict(_extents(files, stem, fields, rows))


def _extents(files: Files, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
    for field in fields:
        index = f"{stem}.{field.name}.{'npy' if field.scalar else 'spans.npy'}"
        with files.open(index) as file:
            table = npy.read_array(file, index)
        if len(table) != rows or table.ndim != (1 if field.scalar else 2):
            raise StoreError(f"{index} has shape {table.shape}, expected {rows} rows: rebuild the store.")
        if field.scalar:
            yield field.name, Values(lambda table=table: table)  # type: ignore[misc]
        elif field.ragged:
            yield field.name, Spans(f"{stem}.tar", table[:, 0].copy(), table[:, 1].copy())
        else:
            head = len(_npy_header(field))
            yield field.name, _runs(f"{stem}.tar", table[:, 0] + head, table[:, 1] - head, field, rows)


def _runs(name: str, offsets: Any, sizes: Any, field: Field, rows: int) -> Extent:
    stride = int(offsets[1] - offsets[0]) if rows > 1 else field.nbytes
    if (sizes == field.nbytes).all() and (np.diff(offsets) == stride).all():
        return one_run(name, int(offsets[0]), stride)
    return Spans(name, offsets, sizes)


def _members(field: Field, column: Column) -> Iterator[tuple[str, bytes, Any]]:
    """Suffix, head and body of each row's member."""
    if field.kind == "text":
        yield from ((f"{field.name}.txt", b"", row) for row in column)
        return
    if field.scalar and np.dtype(field.dtype).kind in "biu":
        suffix = "cls" if field.name == "label" else f"{field.name}.cls"
        yield from ((suffix, b"", b"%d" % value) for value in np.asarray(column).tolist())
        return
    prefix = "" if field.name == "image" else f"{field.name}."
    if field.kind == "file":
        yield from ((prefix + extension(row), b"", row) for row in column)
    else:
        head = _npy_header(field)
        yield from ((f"{prefix}npy", head, memoryview(row)) for row in as_bytes(field, column))


def _npy_header(field: Field) -> bytes:
    return npy.header(field.dtype, field.shape, 64)

"""Tar shards that webdataset reads as they are, with a hidden index beside them for random access.

A sample's members share a key, its number in the store: `000000042.npy` (or `.jpg`, `.png`, … for files kept as they
were), `000000042.cls` for a whole number, `<field>.<extension>` for any other field. In `.store/`,
`shard-000000.image.spans.npy`, int64 (rows, 2), says where the image files lie; `shard-000000.label.npy` repeats the
numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from imgassets.columns import Column, Columns, Field, as_bytes, rows_of
from imgassets.commit import Stage
from imgassets.commit.names import ASIDE
from imgassets.errors import StoreError
from imgassets.formats import npy
from imgassets.formats.ustar import BLOCK, END, headers, member_bytes, padding
from imgassets.images.sniff import extension
from imgassets.stores import card
from imgassets.stores.codec import Codec, begins
from imgassets.stores.extents import Extent, Index, Spans, StoreFiles, Values, one_run
from imgassets.stores.storefile import StoreInfo

UNTYPED = {"npy", "bin"}
"""Extensions of files that may hold arrays of any shape, or anything."""


def write(
    stage: Stage, stem: str, fields: Sequence[Field], rows: int, blocks: Iterable[Columns], options: Mapping[str, Any]
) -> Sequence[str]:
    """Write one shard; `options["numbers"]` are the samples' numbers (default: from 0). Returns its suffixes."""
    seen: dict[str, None] = {}
    numbers_left = iter(options.get("numbers", range(rows)))
    spans: dict[str, list[Index]] = {field.name: [] for field in fields if not field.scalar}
    numbers: dict[str, list[Column]] = {field.name: [] for field in fields if field.scalar}
    with stage.create(f"{stem}.tar") as sink:
        for block in blocks:
            keys = [f"{number:09d}" for number in islice(numbers_left, rows_of(block))]
            parts: list[Iterable[Any]] = []  # columns: what stands in every sample, in this order
            sizes = []
            for field in fields:
                suffixes, head, bodies = _members(field, block[field.name])
                sizes.append([len(head) + len(body) for body in bodies])
                seen.update(dict.fromkeys(suffixes))
                names = [f"{key}.{suffix}" for key, suffix in zip(keys, suffixes, strict=True)]
                tops = headers(names, sizes[-1])
                parts += [top + head for top in tops], bodies, [padding(size) for size in sizes[-1]]
            position, lengths = sink.tell(), np.array(sizes, np.int64).T
            sink.write(b"".join(chain.from_iterable(zip(*parts, strict=True))))
            whole = member_bytes(lengths)
            begins = position + BLOCK + (np.cumsum(whole).reshape(whole.shape) - whole)
            for k, field in enumerate(fields):
                if field.scalar:
                    numbers[field.name].append(block[field.name])
                else:
                    spans[field.name].append(np.stack([begins[:, k], lengths[:, k]], axis=1))
        sink.write(END)
    for name, places in spans.items():
        with stage.create(f"{ASIDE}/{stem}.{name}.spans.npy") as sink:
            sink.write(npy.dump(np.concatenate(places)))
    for field in fields:
        if field.scalar:
            with stage.create(f"{ASIDE}/{stem}.{field.name}.npy") as sink:
                values = np.concatenate([np.asarray(column) for column in numbers[field.name]])
                sink.write(npy.dump(as_bytes(field, values).view(field.dtype).reshape(-1)))
    return list(seen)


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
            total += int(member_bytes(body).sum())
        shape = (rows,) if field.scalar else (rows, 2)
        total += len(npy.header(np.int64, shape, 64)) + rows * (field.nbytes if field.scalar else 16)
    return total


def extents(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
    """Where the rows of a shard lie."""
    for field in fields:
        index = f"{stem}.{field.name}.{'npy' if field.scalar else 'spans.npy'}"
        table = _table(files, index)
        if len(table) != rows or table.ndim != (1 if field.scalar else 2):
            raise StoreError(f"{index} has shape {table.shape}, expected {rows} rows: rebuild the store.")
        if field.scalar:
            yield field.name, Values(index, lambda table=table: table)  # type: ignore[misc]
        elif field.ragged:
            yield field.name, Spans(f"{stem}.tar", table[:, 0].copy(), table[:, 1].copy())
        else:
            head = len(_npy_header(field))
            yield field.name, _runs(f"{stem}.tar", table[:, 0] + head, table[:, 1] - head, field, rows)


def _table(files: StoreFiles, name: str) -> Any:
    """An index; in tar/1 it lay beside the shard."""
    try:
        with files.open(f"{ASIDE}/{name}") as file:
            return npy.read_array(file, name)
    except FileNotFoundError:
        with files.open(name) as file:
            return npy.read_array(file, name)


def _mine(stem: str, name: str) -> bool:
    return begins(stem, name.removeprefix(f"{ASIDE}/"))


def _runs(name: str, offsets: Any, sizes: Any, field: Field, rows: int) -> Extent:
    stride = int(offsets[1] - offsets[0]) if rows > 1 else field.nbytes
    if (sizes == field.nbytes).all() and (np.diff(offsets) == stride).all():
        return one_run(name, int(offsets[0]), stride)
    return Spans(name, offsets, sizes)


def _members(field: Field, column: Column) -> tuple[Sequence[str], bytes, Column | list[Any]]:
    """Suffixes of the rows' members, what they all begin with, and the rest of each."""
    if field.kind == "file":
        return [_prefix(field) + extension(row) for row in column], b"", column
    suffixes = [_suffix(field)] * len(column)
    if field.kind == "text":
        return suffixes, b"", column
    if _whole(field):
        return suffixes, b"", [b"%d" % value for value in np.asarray(column).tolist()]
    return suffixes, _npy_header(field), list(as_bytes(field, column))


def _prefix(field: Field) -> str:
    return "" if field.name == "image" else f"{field.name}."


def _suffix(field: Field) -> str:
    """Of a field that is no file."""
    if field.kind == "text":
        return f"{field.name}.txt"
    if _whole(field):
        return "cls" if field.name == "label" else f"{field.name}.cls"
    return f"{_prefix(field)}npy"


def _whole(field: Field) -> bool:
    return field.scalar and np.dtype(field.dtype).kind in "biu"


def _npy_header(field: Field) -> bytes:
    return npy.header(field.dtype, field.shape, 64)


def beside(info: StoreInfo, split: str) -> Mapping[str, bytes]:
    """What `datasets` is told: a column for each suffix, images of different kinds each in a column of their own."""
    features: list[card.Feature] = []
    for field in info.fields:
        if field.kind == "text":
            features.append(card.plain(_suffix(field), "string"))
        elif field.kind != "file":
            suffix = _suffix(field)
            features.append(card.label(suffix, field, info.classes) if _whole(field) else card.array(suffix, field))
    known = {feature["name"] for feature in features}
    images = [part for part in info.parts if part not in known]
    if any(part.rpartition(".")[2] in UNTYPED for part in images):
        return card.card(split, "*.tar")
    features = [*(card.plain(part, "image") for part in images), *features]
    return card.card(split, "*.tar", [*features, card.plain("__key__", "string"), card.plain("__url__", "string")])


CODEC = Codec(
    name="tar",
    version=2,
    description="Images as tar shards that webdataset streams, with an index for random access.",
    write=write,
    weigh=weigh,
    extents=extents,
    reads=(1,),
    keeps=(1,),
    mine=_mine,
    tidy=True,
    beside=beside,
    kinds=frozenset({"webdataset"}),
)

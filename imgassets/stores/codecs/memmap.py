"""Memory-mapped arrays: every fixed-size field of a shard is one NPY file that `np.load(..., mmap_mode="r")` opens.

`shard-000000.image.npy` begins with a header of 4096 bytes. A field of variable size is `shard-000000.image.bin`, its
rows end to end, with `shard-000000.image.offsets.npy`, int64 (rows + 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from imgassets.columns import Columns, Field, as_bytes
from imgassets.commit import Stage
from imgassets.errors import StoreError
from imgassets.formats import npy
from imgassets.stores.codec import Codec
from imgassets.stores.extents import Extent, Index, Spans, StoreFiles, one_run


def write(
    stage: Stage, stem: str, fields: Sequence[Field], rows: int, blocks: Iterable[Columns], options: Mapping[str, Any]
) -> None:
    """Write one shard of `rows` rows."""
    sizes: dict[str, list[int]] = {field.name: [0] for field in fields if field.ragged}
    with ExitStack() as stack:
        sinks = {f.name: stack.enter_context(stage.create(_file(stem, f))) for f in fields}
        for field in fields:
            if not field.ragged:
                sinks[field.name].write(npy.header(field.dtype, (rows, *field.shape)))
        for block in blocks:
            for field in fields:
                column = block[field.name]
                if field.ragged:
                    sinks[field.name].writev(column)  # type: ignore[arg-type]
                    sizes[field.name] += map(len, column)
                else:
                    sinks[field.name].write(as_bytes(field, column).data)
    for name, lengths in sizes.items():
        with stage.create(f"{stem}.{name}.offsets.npy") as sink:
            sink.write(npy.dump(np.cumsum(lengths, dtype=np.int64)))


def weigh(
    fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
) -> int:
    """Bytes of a shard's files."""
    fixed = sum(len(npy.header(f.dtype, (rows, *f.shape))) + rows * f.nbytes for f in fields if not f.ragged)
    offsets = len(npy.header(np.int64, (rows + 1,), 64)) + 8 * (rows + 1)
    return fixed + sum(int(sizes[f.name].sum()) + offsets for f in fields if f.ragged)


def extents(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
    """Where the rows of a shard lie."""
    for field in fields:
        name = _file(stem, field)
        if field.ragged:
            with files.open(f"{stem}.{field.name}.offsets.npy") as file:
                offsets = npy.read_array(file, f"{stem}.{field.name}.offsets.npy")
            if offsets.shape != (rows + 1,) or offsets.dtype != np.int64:
                raise StoreError(f"{name} has offsets {offsets.shape} {offsets.dtype} for {rows} rows.")
            yield field.name, Spans(name, offsets[:-1], np.diff(offsets))
        else:
            with files.open(name) as file:
                shape, dtype, start = npy.read_header(file, name)
            if shape != (rows, *field.shape) or dtype != np.dtype(field.dtype):
                raise StoreError(f"{name} holds {shape} {dtype}, expected {(rows, *field.shape)} {field.dtype}.")
            yield field.name, one_run(name, start, field.nbytes)


def _file(stem: str, field: Field) -> str:
    return f"{stem}.{field.name}.{'bin' if field.ragged else 'npy'}"


CODEC = Codec(
    name="memmap",
    version=1,
    description="Images as memory-mapped `.npy` shards, the fastest to train from.",
    write=write,
    weigh=weigh,
    extents=extents,
    kinds=frozenset({"numpy"}),
)

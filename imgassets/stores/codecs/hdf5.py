"""HDF5: a shard is one `.h5` file with a dataset per field, contiguous, so that rows can be mapped as well as read.

A field of variable size is a group: `data`, one virtual dataset of all bytes over the contiguous pieces in `blocks`,
and `offsets`, int64 (rows + 1), row i being `data[offsets[i]:offsets[i + 1]]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from imgassets.columns import Columns, Field, as_bytes
from imgassets.commit import Stage
from imgassets.errors import StoreError
from imgassets.stores.codec import Codec
from imgassets.stores.extents import Extent, Index, Spans, StoreFiles, one_run

PAGE = 4096
OBJECTS, OBJECT = 4096, 500
"""Bytes of the file's own structures; of those of one dataset."""


def write(
    stage: Stage, stem: str, fields: Sequence[Field], rows: int, blocks: Iterable[Columns], options: Mapping[str, Any]
) -> None:
    """Write one shard of `rows` rows.

    HDF5 makes the structure in memory, for it cannot be told that a write has failed: it loses such errors, or dies of
    them. The data go by it, to the places it has for them.
    """
    with stage.scatter(f"{stem}.h5") as sink, _memory() as memory:
        spans = []
        with _create(f"/dev/fd/{memory.fileno()}") as file:
            for at, data in _data(file, fields, rows, blocks):
                sink.put(data, at)
                spans.append((at, data.nbytes))
        for at, size in _between(spans, memory.seek(0, os.SEEK_END)):
            sink.put(os.pread(memory.fileno(), size, at), at)


def _memory() -> IO[bytes]:
    """An empty file of this process alone, in memory where the system has such files."""
    return open(os.memfd_create("hdf5"), "w+b") if hasattr(os, "memfd_create") else TemporaryFile()


def _data(
    file: Any, fields: Sequence[Field], rows: int, blocks: Iterable[Columns]
) -> Iterator[tuple[int, memoryview[Any]]]:
    """Make the groups and datasets; yields the contiguous pieces of their data, each with its place in the file."""
    places: dict[str, int] = {}
    sizes: dict[str, list[int]] = {field.name: [0] for field in fields if field.ragged}
    pieces: dict[str, list[int]] = {name: [] for name in sizes}
    for field in fields:
        if field.ragged:
            _group(file, field.name)
            _group(file, f"{field.name}/blocks")
        else:
            places[field.name] = _dataset(file, field.name, (rows, *field.shape), field.dtype)
    for block in blocks:
        for field in fields:
            column = block[field.name]
            if not field.ragged:
                data = as_bytes(field, column).data
                yield places[field.name], data
                places[field.name] += data.nbytes
                continue
            sizes[field.name] += map(len, column)
            if joined := b"".join(column):
                name = f"{field.name}/blocks/{len(pieces[field.name]):06d}"
                yield _dataset(file, name, (len(joined),), "|u1"), memoryview(joined)
                pieces[field.name].append(len(joined))
    for name, lengths in sizes.items():
        offsets = np.cumsum(lengths, dtype=np.dtype("<i8"))
        yield _dataset(file, f"{name}/offsets", offsets.shape, "<i8"), offsets.data
        _joined(file, f"{name}/data", f"{name}/blocks", pieces[name])


def _between(spans: Iterable[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """(start, size) of what lies before, between and after spans, up to `end`."""
    at = 0
    for start, size in sorted([*spans, (end, 0)]):
        if start > at:
            yield at, start - at
        at = start + size


def weigh(
    fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
) -> int:
    """Bytes of a shard's file, to within a page for each dataset."""
    total = OBJECTS
    for field in fields:
        if field.ragged:
            data = int(sizes[field.name].sum())
            total += blocks * (_paged(data // blocks) + OBJECT) + _paged(8 * (rows + 1))
        else:
            total += _paged(rows * field.nbytes)
    return total


def _paged(nbytes: int) -> int:
    """Large datasets begin at a page; small ones lie between them."""
    return nbytes if nbytes < PAGE else -(-nbytes // PAGE) * PAGE


def extents(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
    """Where the rows of a shard lie."""
    import h5py

    name = f"{stem}.h5"
    try:
        with files.open(name) as raw, h5py.File(raw, "r") as file:
            for field in fields:
                if field.ragged:
                    offsets = file[field.name]["offsets"][:]
                    pieces = file[field.name]["blocks"].values()
                    yield field.name, _spans(name, offsets, rows, list(pieces))
                else:
                    dataset = file[field.name]
                    start = dataset.id.get_offset()
                    if dataset.shape != (rows, *field.shape) or dataset.dtype != field.dtype or start is None:
                        raise ValueError(f"{field.name} is {dataset.shape} {dataset.dtype}, or not contiguous")
                    yield field.name, one_run(name, start, field.nbytes)
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise StoreError(f"{name} does not hold the {rows} rows it should ({error}): rebuild the store.") from error


def _spans(name: str, offsets: Any, rows: int, pieces: list[Any]) -> Spans:
    if offsets.shape != (rows + 1,):
        raise ValueError(f"{len(offsets)} offsets for {rows} rows")
    sizes = np.diff(offsets)
    if not pieces:
        return Spans(name, np.zeros_like(sizes), sizes)
    ends = np.cumsum([piece.size for piece in pieces])
    places = np.array([piece.id.get_offset() for piece in pieces], np.int64) - (ends - [p.size for p in pieces])
    piece = np.minimum(np.searchsorted(ends, offsets[:-1], side="right"), len(pieces) - 1)
    return Spans(name, offsets[:-1] + places[piece], sizes)


def _create(path: str) -> Any:
    """A file in the place of the one there: large datasets begin at a page, and nothing depends on the clock."""
    import h5py

    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_stdio()  # the default driver asks for the descriptor's real path, and there is none
    access.set_alignment(PAGE, PAGE)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    create = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    create.set_obj_track_times(False)
    return h5py.File(h5py.h5f.create(path.encode(), h5py.h5f.ACC_TRUNC, fcpl=create, fapl=access))


def _group(file: Any, name: str) -> None:
    import h5py

    create = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    create.set_obj_track_times(False)
    h5py.h5g.create(file.id, name.encode(), gcpl=create)


def _dataset(file: Any, name: str, shape: tuple[int, ...], dtype: str) -> int:
    """Make a contiguous dataset; returns its place in the file, which HDF5 leaves as it is."""
    import h5py

    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.CONTIGUOUS)
    create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    create.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, create)
    return int(made.get_offset())


def _joined(file: Any, name: str, blocks: str, sizes: Sequence[int]) -> None:
    """A virtual dataset: all blocks, end to end."""
    import h5py

    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_obj_track_times(False)
    whole = h5py.h5s.create_simple((sum(sizes),))
    start = 0
    for k, size in enumerate(sizes):
        part = h5py.h5s.create_simple((sum(sizes),))
        part.select_hyperslab((start,), (size,))
        create.set_virtual(part, b".", f"{blocks}/{k:06d}".encode(), h5py.h5s.create_simple((size,)))
        start += size
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype("|u1")), whole, create)


CODEC = Codec(
    name="hdf5",
    version=1,
    description="Images as HDF5 shards with plain contiguous datasets.",
    write=write,
    weigh=weigh,
    extents=extents,
    kinds=frozenset({"hdf5"}),
)

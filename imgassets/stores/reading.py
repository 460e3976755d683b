"""Rows of an open store by index: what its formats' extents, over all shards, come down to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Column, Field, as_bytes
from imgassets.errors import ImgassetsError, StoreError
from imgassets.mapping.files import starts_of
from imgassets.stores.ahead import Read
from imgassets.stores.bytespace import Bytes, Local
from imgassets.stores.codec import Extents
from imgassets.stores.extents import Blocks, Extent, Index, Runs, Spans, StoreFiles, Values, lies_within
from imgassets.stores.storefile import StoreInfo

if TYPE_CHECKING:
    import torch

CACHED_BLOCKS = 32
"""Decoded blocks kept, for formats that decode rows together."""


class Closed:
    """What a store has in the place of its reader once it is closed."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        raise StoreError(f"{self._path} was closed: open it anew to read it.")


@dataclass(frozen=True)
class Placed:
    """Byte position of every row, and its size where rows differ in size."""

    positions: Index
    sizes: Index | None


class Decoded:
    """Rows that come in blocks; the last few blocks are kept, for all threads together."""

    def __init__(self, starts: Index, loads: Sequence[Callable[[], Column]], names: Sequence[str]) -> None:
        self.starts = starts
        self._loads, self._names = loads, names
        self._kept: OrderedDict[int, Column] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, rows: Index) -> list[Any]:
        """Some rows, one by one."""
        block = np.searchsorted(self.starts, rows, side="right") - 1
        found: list[Any] = [None] * len(rows)
        for k in dict.fromkeys(block.tolist()):
            column = self._block(k)
            with damage(self._names[k]):  # it may have fewer rows than it should
                for place in np.flatnonzero(block == k).tolist():
                    found[place] = column[int(rows[place] - self.starts[k])]
        return found

    def _block(self, k: int) -> Column:
        with self._lock:
            if k in self._kept:
                self._kept.move_to_end(k)
                return self._kept[k]
        with damage(self._names[k]):
            column = self._loads[k]()
        with self._lock:
            self._kept[k] = column
            while len(self._kept) > CACHED_BLOCKS:
                self._kept.popitem(last=False)
        return column


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Whatever a library says of bytes it cannot make sense of, as one of our errors."""
    try:
        yield
    except ImgassetsError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise StoreError(f"{what} is damaged ({reason}): verify the store, or rebuild it.") from error


class Reader:
    """Fields of an open store by row index. Threads may share it; so may processes that fork."""

    def __init__(self, info: StoreInfo, extents: Extents, files: StoreFiles, space: Bytes, where: str) -> None:
        self.info = info
        self._where = where
        self._space = space
        sizes = [record.bytes for shard in info.shards for record in shard.files]
        names = [record.name for shard in info.shards for record in shard.files]
        base = dict(zip(names, starts_of(sizes).tolist(), strict=True))
        size = dict(zip(names, sizes, strict=True))
        self._bases = [(base[name], name) for name in names if size[name]]
        parts: dict[str, list[Extent]] = {field.name: [] for field in info.fields}
        for shard in info.shards:
            if not shard.rows:
                continue
            with damage(f"{where}, shard {shard.stem}"):
                for name, extent in extents(files, shard.stem, info.fields, shard.rows):
                    parts[name].append(_placed(extent, shard.rows, base, size, info.field(name)))
        first = np.cumsum([0, *(shard.rows for shard in info.shards if shard.rows)])[:-1]
        self._columns = {f.name: partial(_merge, f, parts[f.name], first, info, where) for f in info.fields}
        self._merged: dict[str, Placed | Decoded | NDArray[Any]] = {}

    def values(self, name: str) -> NDArray[Any]:
        """All rows of a scalar field, kept in memory: (rows,)."""
        column = self._column(name)
        if isinstance(column, np.ndarray):
            return column
        import torch

        field = self.info.field(name)
        raw = torch.empty((self.info.rows, field.nbytes), dtype=torch.uint8)
        self.gather(name, np.arange(self.info.rows), raw)
        self._merged[name] = values = raw.numpy().view(field.dtype).reshape(-1)
        return values

    def gather(self, name: str, rows: Index, out: torch.Tensor) -> None:
        """Copy rows of an array field into `out`, uint8 (len(rows), nbytes), contiguous."""
        column = self._column(name)
        if isinstance(column, Placed):
            self._space.gather(column.positions[rows], out)
        elif isinstance(column, Decoded):
            field = self.info.field(name)
            target = out.numpy()
            for place, row in enumerate(column.of(rows)):
                with damage(f"{self._where}, field {name}"):
                    target[place] = as_bytes(field, np.asarray(row)[None])[0]
        else:
            out.numpy()[:] = column[rows].reshape(-1, 1).view(np.uint8)

    def pieces(self, name: str, rows: Index) -> Sequence[memoryview]:
        """Bytes of rows of a field of variable size, uncopied where the store is mapped."""
        return self._pieces(name, rows, self._space.pieces)

    def copies(self, name: str, rows: Index) -> Sequence[memoryview]:
        """The same in memory of this process, which stay what they are whatever becomes of the files."""
        return self._pieces(name, rows, self._space.copies)

    def piece(self, name: str, row: int) -> memoryview:
        """As `pieces`, of one row: without the cost of arrays, which is more than that of the fetch."""
        column = self._column(name)
        if isinstance(column, Placed) and column.sizes is not None:
            return self._space.piece(column.positions.item(row), column.sizes.item(row))
        return self.pieces(name, np.array([row]))[0]

    def place(self, name: str, row: int) -> tuple[str, int, int] | None:
        """File, byte offset and size of one row of a field; None where rows have to be decoded to be found."""
        column = self._column(name)
        if not isinstance(column, Placed):
            return None
        position = column.positions.item(row)
        size = self.info.field(name).nbytes if column.sizes is None else column.sizes.item(row)
        base, file = max(item for item in self._bases if item[0] <= position)
        return file, position - base, size

    def ahead(self, name: str, rows: Index) -> list[Read]:
        """Calls that each have some bytes of a field read, where they are mapped and not in memory."""
        column = self._column(name)
        if not isinstance(column, Placed) or not isinstance(self._space, Local):
            return []
        sizes = self.info.field(name).nbytes if column.sizes is None else column.sizes[rows]
        return self._space.ahead(column.positions[rows], sizes)

    def block_rows(self) -> int | None:
        """Rows that are decoded together, where there are such."""
        for field in self.info.fields:
            column = self._column(field.name)
            if isinstance(column, Decoded):
                return int(np.diff([*column.starts, self.info.rows]).max())
        return None

    def _pieces(
        self, name: str, rows: Index, fetch: Callable[[Index, Index], Sequence[memoryview]]
    ) -> Sequence[memoryview]:
        column = self._column(name)
        if isinstance(column, Placed) and column.sizes is not None:
            return fetch(column.positions[rows], column.sizes[rows])
        if isinstance(column, Decoded):
            with damage(f"{self._where}, field {name}"):
                return [memoryview(row) for row in column.of(rows)]
        raise TypeError(f"{name} has rows of one size")

    def _column(self, name: str) -> Placed | Decoded | NDArray[Any]:
        if name not in self._merged:
            with damage(f"{self._where}, field {name}"):
                self._merged[name] = self._columns[name]()
        return self._merged[name]


def _placed(extent: Extent, rows: int, base: dict[str, int], size: dict[str, int], field: Field) -> Extent:
    """The same with positions in the store instead of offsets in a file, once they are known to lie in the file."""
    if isinstance(extent, Values | Blocks):
        return extent
    nbytes = None if field.ragged else field.nbytes
    if extent.file not in base or not lies_within(extent, rows, size[extent.file], nbytes):
        raise StoreError(
            f"{extent.file} is shorter than its index says, or of other rows: verify the store, or rebuild."
        )
    offsets = extent.offsets + base[extent.file]
    if isinstance(extent, Runs):
        return Runs(extent.file, extent.starts, offsets, extent.strides)
    return Spans(extent.file, offsets, extent.sizes)


def _merge(
    field: Field, parts: Sequence[Extent], first: Index, info: StoreInfo, where: str
) -> Placed | Decoded | NDArray[Any]:
    if all(isinstance(part, Values) for part in parts):
        values = [_loaded(part) for part in parts if isinstance(part, Values)]
        if [len(v) for v in values] != [shard.rows for shard in info.shards if shard.rows]:
            raise StoreError(f"{where}, field {field.name}: its index has another number of rows than the store.")
        return np.concatenate(values)
    if all(isinstance(part, Runs | Spans) for part in parts):
        counts = [shard.rows for shard in info.shards if shard.rows]
        positions = np.concatenate([_positions(part, rows) for part, rows in zip(parts, counts, strict=True)])
        sizes = [part.sizes for part in parts if isinstance(part, Spans)]
        return Placed(positions, np.concatenate(sizes) if field.ragged else None)
    blocks = [part for part in parts if isinstance(part, Blocks)]
    starts = np.concatenate([block.starts + start for block, start in zip(blocks, first, strict=True)])
    numbered = [(block, k) for block in blocks for k in range(len(block.starts))]
    names = [f"{where}, {block.file}, field {field.name}, block {k}" for block, k in numbered]
    return Decoded(starts, [partial(block.load, k) for block, k in numbered], names)


def _loaded(part: Values) -> NDArray[Any]:
    with damage(part.file):
        return np.asarray(part.load())


def _positions(part: Extent, rows: int) -> Index:
    if isinstance(part, Spans):
        return part.offsets
    assert isinstance(part, Runs)
    counts = np.diff([*part.starts, rows])
    found: Index = np.repeat(part.offsets - part.starts * part.strides, counts)
    found += np.repeat(part.strides, counts) * np.arange(rows)
    return found

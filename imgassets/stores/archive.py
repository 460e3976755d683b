"""The images of a tar archive where it lies, by its index: `open_store(".../tar_index/train", raw="/data/raw")`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from imgassets.classes import imagenet_classes
from imgassets.columns import Field, array_field, numbers
from imgassets.commit import FileRecord, load
from imgassets.commit.stage import MANIFEST
from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats.index import TABLE, IndexReader
from imgassets.stores.bytespace import Local
from imgassets.stores.codec import Extents
from imgassets.stores.dataset import Store, Transform
from imgassets.stores.extents import Blocks, Extent, Index, Spans, StoreFiles, Values
from imgassets.stores.reading import Reader
from imgassets.stores.storefile import LISTED, Shard, StoreInfo

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "index/1"
FIELDS = (Field("image", "file", mode="RGB"), array_field("label", np.int64), Field("name", "text"))
COLUMNS = ("class_id", "offset", "size", "xxh3_64", "warning", "problem")
PROBES = 16
"""Images that are compared with the index when the store is opened: another archive of the same size is told then."""


class ArchiveStore(Store):
    """Every sound image of an indexed archive, in the index's order; labels are class_ids 0..999.

    Nothing is written or unpacked. Each image is compared with the checksum that its row has, whenever it is read.
    """

    def __init__(
        self,
        path: str,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        raw: str | os.PathLike[str] = "",
    ) -> None:
        self._raw = os.fspath(raw)
        super().__init__(path, transform, target_transform)

    @staticmethod
    def lies_at(path: str | os.PathLike[str]) -> bool:
        """Whether there is an index of an archive's images."""
        if "://" in str(path) or not Path(path, TABLE).is_file():
            return False
        return {"name", *COLUMNS} <= set(IndexReader(Path(path)).schema.names)

    @property
    def folder(self) -> Path:
        """In which the archive lies."""
        return self.archive.parent

    @cached_property
    def archive(self) -> Path:
        """The tar.

        Raises:
            MissingUpstream: it is not where `raw` says.
        """
        if not (given := self._raw or os.environ.get("IMGASSETS_RAW", "")):
            raise BadInput(f"{self.path} is an index: say where its archive lies, raw=<folder of the raw inputs>.")
        file = str(self._made_of["file"])
        places = [Path(given), *(Path(given, name) for name in (*self._inputs, file))]
        for place in places:
            if place.name == file and place.is_file():
                return place
        raise MissingUpstream(f"There is no {places[1]} (nor {places[-1]}), which {self.path} is the index of.")

    def verify(self) -> None:
        """Read every image again and compare it with the index.

        Raises:
            StoreError: one is another; names it.
        """
        for row in np.argsort(self._table.offsets).tolist():
            self._reader.pieces("image", np.array([row]))

    def name(self, index: int) -> str:
        """The file name of a row."""
        (row,) = self._rows([index]).tolist()
        return str(self._table.names[row].decode())

    @property
    def _made_of(self) -> Mapping[str, Any]:
        """File name and bytes of the archive that was read."""
        found: Mapping[str, Any] = self._index.report["archive"]
        return found

    @cached_property
    def _inputs(self) -> Mapping[str, str]:
        """Checksums of the raw files that made the index, by their path."""
        with suppress(OSError):
            inputs = load(Path(self.path) / MANIFEST).recipe.inputs
            return {name: value for name, value in inputs.items() if Path(name).name == self._made_of["file"]}
        return {}

    def _read_info(self) -> StoreInfo:
        self._index = IndexReader(Path(self.path))
        self._table = _Table(self._index)
        archive, size = self.archive, int(self._made_of["bytes"])
        if (found := archive.stat().st_size) != size:
            raise BadInput(
                f"{archive} has {found} bytes, {self.path} is the index of one of {size}: name the archive that it was "
                "made from, or make the index again."
            )
        checksum = next(iter(self._inputs.values()), "")
        shard = Shard(
            archive.stem,
            len(self._table.offsets),
            (FileRecord(archive.name, size, checksum),),
            tuple(self._table.listed("problem")),
            damaged=tuple(self._table.listed("warning"))[:LISTED],
        )
        return StoreInfo(FORMAT, FIELDS, (shard,), imagenet_classes().class_to_idx, {"kind": "tar_index"})

    def _open(self) -> Reader:
        (record,) = self.info.shards[0].files
        local = Local(self.folder, [record.name], [record.bytes])
        reader = _ProvenReader(self, self._table, local)
        for row in np.unique(np.linspace(0, max(0, len(self) - 1), PROBES).astype(int))[: len(self)].tolist():
            try:
                reader.piece("image", row)
            except StoreError as error:
                raise BadInput(f"{error} It was changed, or is another archive of the same size.") from None
        return reader

    def _extents(self) -> Extents:
        return self._table.extents(self.archive.name)

    def _arguments(self) -> tuple[Any, ...]:
        return *super()._arguments(), self._raw


class _Table:
    """The rows of an index that are images."""

    def __init__(self, index: IndexReader) -> None:
        self._index = index
        self._rows = index.table(list(COLUMNS))
        self._sound = self._rows["problem"].is_null().to_numpy()
        self.offsets, self.sizes, self.class_ids = (self._kept(c, np.int64) for c in ("offset", "size", "class_id"))
        self.checksums = self._kept("xxh3_64", np.uint64)

    @cached_property
    def names(self) -> _Texts:
        """File names, read when the first is asked for."""
        return _Texts(self._index.table(["name"])["name"], np.flatnonzero(self._sound))

    def listed(self, column: str) -> Iterator[dict[str, Any]]:
        """The rows that have something to say in a column."""
        said = self._rows[column]
        for row in np.flatnonzero(said.is_valid().to_numpy()).tolist():
            name = self._index.table(["name"])["name"][row].as_py()
            yield {"index": row, "name": name, "reason": said[row].as_py()}

    def extents(self, file: str) -> Extents:
        """Where they lie."""

        def found(files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
            yield "image", Spans(file, self.offsets, self.sizes)
            yield "label", Values(file, lambda: self.class_ids)
            yield "name", Blocks(file, np.zeros(1, np.int64), lambda block: self.names)

        return found

    def _kept(self, column: str, dtype: type[np.generic]) -> NDArray[Any]:
        kept: NDArray[Any] = numbers(self._rows[column].filter(self._rows["problem"].is_null())).astype(dtype)
        return kept


class _Texts(Sequence[bytes]):
    """Some rows of a column of text, each made when it is asked for: a million of them would fill the memory."""

    def __init__(self, column: pa.ChunkedArray[Any], rows: Index) -> None:
        self._column, self._chosen = column, rows

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, row: Any) -> Any:
        return str(self._column[int(self._chosen[row])].as_py()).encode()


class _ProvenReader(Reader):
    """Compares each image with its checksum."""

    def __init__(self, store: ArchiveStore, table: _Table, local: Local) -> None:
        super().__init__(store.info, store._extents(), local, local, store.path)
        self._table, self._local, self._archive = table, local, store.archive

    def piece(self, name: str, row: int) -> memoryview:
        """As `pieces`, of one row."""
        return self.pieces(name, np.array([row]))[0]

    def block_rows(self) -> None:
        """Rows come one by one."""
        return

    def _pieces(
        self, name: str, rows: Index, fetch: Callable[[Index, Index], Sequence[memoryview]]
    ) -> Sequence[memoryview]:
        found = super()._pieces(name, rows, fetch)
        if name == "image":
            with self._local.mapped(self._archive.name):
                self._prove(rows, found)
        return found

    def _prove(self, rows: Index, pieces: Sequence[memoryview]) -> None:
        for row, piece, wanted in zip(rows.tolist(), pieces, self._table.checksums[rows].tolist(), strict=True):
            if xxhash.xxh3_64_intdigest(piece) != wanted:
                raise StoreError(
                    f"{self._archive} is not what its index was made from: {self._table.names[row].decode()} at byte "
                    f"{self._table.offsets[row]} has another checksum; put the archive back, or make the index again."
                )

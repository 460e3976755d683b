"""A folder of ImageNet TFRecord shards as an image store: `open_store("tf_records", split="train")`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.classes import imagenet_classes
from imgassets.columns import Field, array_field
from imgassets.commit import FileRecord
from imgassets.errors import StoreError
from imgassets.formats.imagenet_folder import SHARD, ImageNetRecords, open_split
from imgassets.formats.record_index import ENTRY, NONE, RecordIndex
from imgassets.formats.tf_example import image_example, parse
from imgassets.formats.tfrecord import CRC, HEAD, OVERHEAD, TFRecordFile
from imgassets.mapping.files import starts_of
from imgassets.stores.ahead import Read
from imgassets.stores.bytespace import Local
from imgassets.stores.dataset import Store, Transform
from imgassets.stores.extents import Index
from imgassets.stores.storefile import Shard, StoreInfo

if TYPE_CHECKING:
    import torch

FORMAT = "tfrecord/1"


def holds_records(path: str) -> bool:
    """Whether this is a local TFRecord shard, or a folder with one."""
    place = Path(path)
    if place.is_dir():
        return any(map(SHARD.fullmatch, os.listdir(place)))
    return place.is_file() and SHARD.fullmatch(place.name) is not None


class RecordStore(Store):
    """The images of one split's shards, or of one shard, in their order; labels are class_ids 0..999.

    The records' places are known from the shards' manifests; where there are none they are found when the store is
    opened, by reading lengths. `image/class/label` is class_id + 1. Each record is checked against its CRC when it is
    first read.
    """

    def __init__(
        self, path: str, transform: Transform | None = None, target_transform: Transform | None = None, split: str = ""
    ) -> None:
        self._split = split
        super().__init__(path, transform, target_transform)

    def verify(self) -> None:
        """Read every record again and check it against its CRC.

        Raises:
            StoreError: one is damaged; names the shard.
        """
        self._records.verify()

    @property
    def folder(self) -> Path:
        """Of the shards; the path may be one of them."""
        place = Path(self.path)
        return place.parent if place.is_file() else place

    def _read_info(self) -> StoreInfo:
        place = Path(self.path)
        if place.is_file():
            self._records = ImageNetRecords([place])
        else:
            self._records = open_split(place, self._split or None)
        shards = [
            # no checksum of a whole file is known; each record has its own
            Shard(file.path.name, len(file), (FileRecord(file.path.name, int(file.offsets[-1]), ""),))
            for file in self._records.files
        ]
        fields = (Field("image", "file", mode="RGB"), array_field("label", np.int64), Field("name", "text"))
        classes = imagenet_classes().class_to_idx
        return StoreInfo(FORMAT, fields, tuple(shards), classes, {"kind": "tfrecords"})

    def _open(self) -> Any:
        files = [file for shard in self.info.shards for file in shard.files]
        local = Local(self.folder, [file.name for file in files], [file.bytes for file in files])
        return _RecordReader(self._records, local)

    def _fetch_labels(self, rows: Index) -> Any:
        import torch

        return torch.from_numpy(self._reader.class_ids(rows))  # type: ignore[union-attr]

    def _arguments(self) -> tuple[Any, ...]:
        return *super()._arguments(), self._split


class _RecordReader:
    """What a `Store` asks of its reader. What a shard's index does not tell is found when a record is first read."""

    def __init__(self, records: ImageNetRecords, local: Local) -> None:
        self._records, self._local = records, local
        bases = starts_of([int(file.offsets[-1]) for file in records.files])
        pairs = list(zip(records.files, bases.tolist(), strict=True))
        self._begins = _joined(file.offsets[:-1] + base for file, base in pairs)
        self._ends = _joined(file.offsets[1:] + base for file, base in pairs)
        entries = np.concatenate([_entries(*pair) for pair in zip(records.files, records.indexes, strict=True)])
        self._images = self._begins + entries["before"]
        self._sizes = entries["image"].astype(np.int64)
        self._class_ids = np.where(entries["class_id"] == NONE, -1, entries["class_id"].astype(np.int64))
        self._proven = np.zeros(len(entries), bool)

    def values(self, name: str) -> NDArray[np.int64]:
        """The class_id of every row, from its synset."""
        if (self._class_ids < 0).any():
            self._class_ids[:] = list(map(_rank, self._records.synsets))
        return self._class_ids

    def class_ids(self, rows: Index) -> NDArray[np.int64]:
        """Those of some rows."""
        self._prove(rows[self._class_ids[rows] < 0])
        return self._class_ids[rows]

    def pieces(self, name: str, rows: Index) -> Sequence[memoryview]:
        """Encoded images, uncopied, or file names; a record is checked when it is first read."""
        if name != "image":
            return self._names(rows)
        self._prove(rows[~self._proven[rows]])
        return self._local.pieces(self._images[rows], self._sizes[rows])

    def copies(self, name: str, rows: Index) -> Sequence[memoryview]:
        """The same in memory of this process."""
        if name != "image":
            return self._names(rows)
        if self._proven[rows].all():
            return self._local.copies(self._images[rows], self._sizes[rows])
        found, begins = self._prove(rows), self._images[rows] - self._begins[rows] - HEAD
        places = zip(found, begins.tolist(), self._sizes[rows].tolist(), strict=True)
        return [memoryview(data)[begin : begin + size] for data, begin, size in places]

    def piece(self, name: str, row: int) -> memoryview:
        """As `pieces`, of one row: without the cost of arrays once its record is proven."""
        if name == "image" and self._proven.item(row):
            return self._local.piece(self._images.item(row), self._sizes.item(row))
        return self.pieces(name, np.array([row]))[0]

    def place(self, name: str, row: int) -> tuple[str, int, int]:
        """Shard, byte offset and size of one encoded image within its record."""
        file, number = self._records.place(row)
        self.piece("image", row)
        return (
            file.path.name,
            int(file.offsets[number] + self._images[row] - self._begins[row]),
            self._sizes.item(row),
        )

    def gather(self, name: str, rows: Index, out: torch.Tensor) -> None:
        """Labels as bytes."""
        out.numpy()[:] = self.class_ids(rows).reshape(-1, 1).view(np.uint8)

    def ahead(self, name: str, rows: Index) -> list[Read]:
        """Calls that each have some records read."""
        return self._local.ahead(self._begins[rows], self._ends[rows] - self._begins[rows])

    def block_rows(self) -> None:
        """Rows come one by one."""
        return

    def _names(self, rows: Index) -> Sequence[memoryview]:
        return [memoryview(image_example(parse(data)).filename.encode()) for data in self._prove(rows)]

    def _prove(self, rows: Index) -> Sequence[bytes]:
        """Whole records, checked against their CRCs; from now on it is known where their images lie."""
        begins, ends = self._begins[rows], self._ends[rows]
        copies = self._local.copies(begins + HEAD, ends - begins - OVERHEAD)
        found = [bytes(copy.obj) for copy in copies]  # the same, not copied again
        sums = self._local.copies(ends - CRC.size, np.full(len(rows), CRC.size))
        for row, data, stored in zip(rows.tolist(), found, sums, strict=True):
            file, number = self._records.place(row)
            file.check(data, stored, number)
            if self._class_ids[row] < 0 or self._images[row] == self._begins[row]:
                image = image_example(parse(data))
                self._class_ids[row], self._sizes[row] = _rank(image.synset), len(image.encoded)
                self._images[row] = self._begins[row] + HEAD + data.index(image.encoded)
        self._proven[rows] = True
        return found


def _joined(parts: Iterable[Index]) -> Index:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _entries(file: TFRecordFile, index: RecordIndex | None) -> NDArray[Any]:
    """What is known of a shard's records; zeros where that is nothing."""
    if index is not None:
        return index.entries
    unknown = np.zeros(len(file), ENTRY)
    unknown["class_id"] = NONE
    return unknown


def _rank(synset: str) -> int:
    ranks = imagenet_classes().class_to_idx
    if synset not in ranks:
        raise StoreError(f"A record has the synset {synset!r}, which is none of the 1000 of ImageNet.")
    return ranks[synset]

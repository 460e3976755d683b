"""A folder of ImageNet TFRecord shards as an image store: `open_store("tf_records", split="train")`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.classes import imagenet_classes
from imgassets.columns import Field, array_field
from imgassets.commit import FileRecord
from imgassets.errors import StoreError
from imgassets.formats.imagenet_folder import SHARD, ImageNetRecords, open_split
from imgassets.formats.tfrecord import HEAD
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

    The records' places are found when the store is opened, by reading their lengths; `image/class/label` is
    class_id + 1. Each record is checked against its CRC whenever it is read.
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
        return _RecordReader(self._records)

    def _arguments(self) -> tuple[Any, ...]:
        return *super()._arguments(), self._split


class _RecordReader:
    """What a `Store` asks of its reader."""

    def __init__(self, records: ImageNetRecords) -> None:
        self._records = records
        self._class_ids: NDArray[np.int64] | None = None

    def values(self, name: str) -> NDArray[np.int64]:
        """The class_id of every row, from its synset."""
        if self._class_ids is None:
            ranks = imagenet_classes().class_to_idx
            unknown = set(self._records.synsets) - set(ranks)
            if unknown:
                raise StoreError(f"A record has the synset {min(unknown)!r}, which is none of the 1000 of ImageNet.")
            self._class_ids = np.array([ranks[synset] for synset in self._records.synsets], dtype=np.int64)
        return self._class_ids

    def pieces(self, name: str, rows: Index) -> Sequence[memoryview]:
        """Encoded images or file names, each record checked."""
        return [self.piece(name, int(row)) for row in rows]

    copies = pieces

    def piece(self, name: str, row: int) -> memoryview:
        """One encoded image or file name, its record checked."""
        image = self._records[row]
        return memoryview(image.encoded if name == "image" else image.filename.encode())

    def place(self, name: str, row: int) -> tuple[str, int, int]:
        """Shard, byte offset and size of one encoded image within its record."""
        file, number = self._records.place(row)
        encoded = self._records[row].encoded
        return file.path.name, int(file.offsets[number]) + HEAD + file[number].index(encoded), len(encoded)

    def gather(self, name: str, rows: Index, out: torch.Tensor) -> None:
        """Labels as bytes."""
        out.numpy()[:] = self.values(name)[rows].reshape(-1, 1).view(np.uint8)

    def block_rows(self) -> None:
        """Rows come one by one."""
        return

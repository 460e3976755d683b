"""Readers by the guide's names: stores with its arguments and attributes; stores of its own code open too."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import MissingUpstream
from imgassets.sources.encoded import channels_last
from imgassets.stores import Store, Transform


class ReaderBase(ABC):
    """The base of a reader of one's own, for files whose `metadata/` a converter's base has written.

    A subclass opens the files in `_read`, and gives an item in `__getitem__`. Pickled as its path, and opened again by
    `_read` in another process.
    """

    class_to_idx: dict[str, int] | None = None
    im_list: Any
    labels_list: Any

    def __init__(self, dataset_path: str | os.PathLike[str] | None = None, transform: Transform | None = None) -> None:
        self.dataset_path = os.fspath(dataset_path or ".")
        self.transform = transform
        self._parse_metadata()
        self.im_list, self.labels_list = self._read()

    def _parse_metadata(self) -> None:
        """Set `len`, `images_per_file`, `len_last_array`, `total_num_arrays`, and `mode` and `shape` where they are."""
        folder = Path(self.dataset_path) / "metadata"
        try:
            found = json.loads((folder / "metadata.json").read_bytes())
        except FileNotFoundError:
            raise MissingUpstream(f"{folder} has no metadata.json: convert the dataset first.") from None
        self.len, self.images_per_file = int(found["len"]), int(found["num_images_per_array"])
        self.len_last_array, self.total_num_arrays = int(found["len_last_array"]), int(found["total_num_arrays"])
        if found.get("mode"):
            self.mode = str(found["mode"])
        if found.get("shape"):
            self.shape = tuple(map(int, found["shape"]))
        classes = folder / "class_to_integer_mapping.json"
        self.class_to_idx = json.loads(classes.read_bytes()) if classes.exists() else None

    def __len__(self) -> int:
        return self.len

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """(image, label) of one row."""

    @abstractmethod
    def _read(self) -> tuple[Any, Any]:
        """What `im_list` and `labels_list` are to be: the open files."""

    @staticmethod
    def custom_sort(elem: str) -> int:
        """The number in a file's name."""
        return int(Path(elem).stem.rpartition("_")[2])

    @staticmethod  # noqa: B027  (a reader opens its files again in another process)
    def worker_init_fn(worker_id: int) -> None:
        """Nothing has to be done."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in {"im_list", "labels_list"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.im_list, self.labels_list = self._read()


class GuideReader(Store):
    """A store by the guide's arguments and attributes; items are as `open_store` gives them.

    `shape` is there where all images have one size.
    """

    shape: tuple[int, ...]

    def __init__(
        self,
        dataset_path: str | os.PathLike[str],
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        super().__init__(dataset_path, transform, target_transform)
        self.dataset_path = self.path
        self.len = len(self)
        counts = [shard.rows for shard in self.info.shards]
        self.images_per_file, self.total_num_arrays = counts[0], len(counts)
        self.len_last_array = counts[-1] % counts[0]
        image = self.info.field("image")
        self.mode = image.mode
        if not image.ragged:
            self.shape = tuple(image.shape[:2]) if image.layout == "HWC" else tuple(image.shape[-2:])

    @cached_property
    def im_list(self) -> list[_FileRows]:
        """Images of each file, pixels (rows, height, width, channels), or the bytes of each file kept as it was."""
        return [_FileRows(self, "image", rows) for rows in self._files_rows()]

    @cached_property
    def labels_list(self) -> list[_FileRows]:
        """Labels of each file."""
        return [_FileRows(self, "label", rows) for rows in self._files_rows()]

    def _files_rows(self) -> list[range]:
        ends = np.cumsum([0, *(shard.rows for shard in self.info.shards)]).tolist()
        return [range(a, b) for a, b in pairwise(ends)]

    @staticmethod
    def worker_init_fn(worker_id: int) -> None:
        """Nothing has to be done: readers work in any worker process."""

    @staticmethod
    def custom_sort(elem: str) -> int:
        """The number in a file's name."""
        return int(Path(elem).stem.rpartition("_")[2])


class _FileRows(Sequence[Any]):
    """A field of some rows of a store, read when they are asked for."""

    def __init__(self, store: Store, field: str, rows: range) -> None:
        self._store, self._field, self._rows = store, field, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """One value, or the values of a slice."""
        rows = self._rows[index]
        found = self._values(list(rows) if isinstance(rows, range) else [rows])
        return found if isinstance(rows, range) else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def _values(self, rows: list[int]) -> Any:
        values = self._store.column(self._field, rows)
        field = self._store.info.field(self._field)
        return channels_last(field, values) if self._field == "image" and not field.ragged else values


Reader = ReaderBase
MemmapReader = HDF5Reader = Hdf5Reader = ParquetReader = IpcReader = TarReader = GuideReader
DenseMemmapReader = DenseIpcReader = GuideReader
worker_init_fn = GuideReader.worker_init_fn

"""Readers by the guide's names: stores with its arguments and attributes; stores of its own code open too."""

from __future__ import annotations

import os
from pathlib import Path

from imgassets.stores import Store, Transform


class GuideReader(Store):
    """A store by the guide's arguments and attributes; items are as `open_store` gives them."""

    def __init__(
        self,
        dataset_path: str | os.PathLike[str],
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        super().__init__(dataset_path, transform, target_transform)
        self.dataset_path = self.path
        self.len = len(self)
        self.images_per_file = self.info.shards[0].rows
        image = self.info.field("image")
        self.mode = image.mode
        self.shape = tuple(image.shape[:2]) if image.layout == "HWC" else tuple(image.shape[-2:])

    @staticmethod
    def worker_init_fn(worker_id: int) -> None:
        """Nothing has to be done: readers work in any worker process."""

    @staticmethod
    def custom_sort(elem: str) -> int:
        """The number in a file's name."""
        return int(Path(elem).stem.rpartition("_")[2])


MemmapReader = HDF5Reader = Hdf5Reader = ParquetReader = IpcReader = TarReader = GuideReader
DenseMemmapReader = DenseIpcReader = GuideReader
worker_init_fn = GuideReader.worker_init_fn

"""Where a network's samples come from: the partitions, the assets read, and the pixels of some rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from imgassets.environment import Storage
from imgassets.io.artifacts import Artifacts
from imgassets.models.extract import Batch
from imgassets.models.resize import fit_planar

Rows = NDArray[np.int64]
ROW_COLUMNS = ("global_index", "class_id")
"""What is read of an NPZ index."""


class OpenInput(Protocol):
    """A data set opened for one run."""

    def rows(self, partition: str) -> tuple[Rows, Rows]:
        """(N,) global indices, consecutive within the split, and (N,) class_ids of a partition's rows."""

    def span(self, partition: str) -> tuple[int, int]:
        """Global index of a partition's first row, and the number of its rows; told without reading them."""

    def index_inputs(self, partition: str) -> dict[str, str]:
        """Checksums of what `rows` reads."""

    def pixel_inputs(self, partition: str) -> dict[str, str]:
        """Checksums of what `samples` reads beside that."""

    def samples(self, partition: str, rows: Rows, batch: int, size: int) -> Iterator[Batch]:
        """Rows (ascending, counted within the partition) in batches, the images brought to `size`."""


class Input(Protocol):
    """A data set as the network sees it."""

    @property
    def source(self) -> str:
        """What the JSON of each sample gives as its `source`."""

    @property
    def splits(self) -> Mapping[str, list[str]]:
        """Partitions by split, in the order of the global index."""

    def series(self, partition: str) -> str:
        """What numbers the samples of a partition."""

    @property
    def ins(self) -> dict[str, dg.AssetIn]:
        """The assets it reads; none where it reads raw files."""

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the pixels the network gets, as JSON values."""

    @property
    def defaults(self) -> dict[str, Any]:
        """What `settings` are unless somebody says otherwise."""

    def open(self, storage: Storage, artifacts: Mapping[str, Artifacts]) -> OpenInput:
        """Open it, given what `ins` named."""


@dataclass(frozen=True)
class NpzInput:
    """The batches of an NPZ data set, through its `npz_index` and `arrays`."""

    dataset: str
    splits: Mapping[str, list[str]]
    enlarge: str | None = None
    source: str = "imagenet_real_npz"

    def series(self, partition: str) -> str:
        """That of the data set's split."""
        return f"{self.dataset}/{next(split for split, batches in self.splits.items() if partition in batches)}"

    @property
    def ins(self) -> dict[str, dg.AssetIn]:
        """The index of the whole split, the arrays of the batch."""
        whole = {batch: names for names in self.splits.values() for batch in names}
        return {
            "index": dg.AssetIn([self.dataset, "npz_index"], partition_mapping=dg.StaticPartitionMapping(whole)),
            "pixels": dg.AssetIn([self.dataset, "arrays"]),
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The filter that enlarges small images."""
        return {"enlarge": self.enlarge}

    @property
    def defaults(self) -> dict[str, Any]:
        """None is enlarged."""
        return {"enlarge": NpzInput.enlarge}

    def open(self, storage: Storage, artifacts: Mapping[str, Artifacts]) -> OpenInput:
        """As a reader of both assets."""
        return NpzReader(artifacts["index"], artifacts["pixels"], self.enlarge)


@dataclass(frozen=True)
class NpzReader:
    """Reads the index and the arrays of NPZ batches."""

    index: Artifacts
    pixels: Artifacts
    enlarge: str | None

    def rows(self, partition: str) -> tuple[Rows, Rows]:
        """As the index says."""
        table = self.index[partition].open().table([*ROW_COLUMNS])
        return tuple(table[name].to_numpy().astype(np.int64) for name in table.column_names)

    def span(self, partition: str) -> tuple[int, int]:
        """As the index's manifest says."""
        manifest = self.index[partition].manifest
        return manifest.recipe.config["first_row"], manifest.facts["rows"]

    def index_inputs(self, partition: str) -> dict[str, str]:
        """What is read of the index."""
        return self.index[partition].read(ROW_COLUMNS)

    def pixel_inputs(self, partition: str) -> dict[str, str]:
        """The arrays."""
        return self.pixels[partition].as_input

    def samples(self, partition: str, rows: Rows, batch: int, size: int) -> Iterator[Batch]:
        """Images are copied out of the mapped file in the order they lie there."""
        numbers, class_ids = self.rows(partition)
        pixels = self.pixels[partition]
        images = pixels.open().images
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            fitted = fit_planar(np.asarray(images[some]), size, self.enlarge, f"{pixels.asset}/{partition}")
            names = tuple(f"npz_sample_{i}" for i in numbers[some])
            yield Batch(numbers[some], names, class_ids[some], fitted)

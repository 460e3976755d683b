"""Where a network's samples come from: the partitions, the assets read, and the pixels of some rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from imgassets.io.artifacts import Artifact
from imgassets.models.extract import Samples
from imgassets.models.resize import fit_planar

Index = NDArray[np.int64]


class Input(Protocol):
    """A data set as the network sees it.

    The assets get two inputs: `index`, all partitions of the split, and `pixels`, the partition itself.
    """

    @property
    def source(self) -> str:
        """What the JSON of each sample gives as its `source`."""

    @property
    def splits(self) -> Mapping[str, list[str]]:
        """Partitions by split, in the order of the global index."""

    @property
    def ins(self) -> dict[str, dg.AssetIn]:
        """The two inputs."""

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the pixels the network gets, as JSON values."""

    def rows(self, index: Artifact) -> tuple[Index, Index]:
        """(N,) global indices and (N,) class_ids of one partition's rows."""

    def samples(self, index: Artifact, pixels: Artifact, rows: Index, batch: int, size: int) -> Iterator[Samples]:
        """Rows (ascending, counted within the partition) in batches, images brought to `size`."""


@dataclass(frozen=True)
class NpzInput:
    """The batches of an NPZ data set, through its `npz_index` and `arrays`."""

    dataset: str
    splits: Mapping[str, list[str]]
    enlarge: str | None = None
    source: str = "imagenet_real_npz"

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

    def rows(self, index: Artifact) -> tuple[Index, Index]:
        """As the index says."""
        table = index.open().table(["global_index", "class_id"])
        return tuple(table[name].to_numpy().astype(np.int64) for name in table.column_names)

    def samples(self, index: Artifact, pixels: Artifact, rows: Index, batch: int, size: int) -> Iterator[Samples]:
        """Images are copied out of the mapped file in the order they lie there."""
        numbers, class_ids = self.rows(index)
        images = pixels.open().images
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            fitted = fit_planar(np.asarray(images[some]), size, self.enlarge, f"{pixels.asset}/{pixels.partition}")
            names = tuple(f"npz_sample_{i}" for i in numbers[some])
            yield Samples(numbers[some], names, class_ids[some], fitted)

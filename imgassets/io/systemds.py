"""SystemDS samples as assets: two CSV matrices with their metadata, and the binary-block twins on request."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from imgassets import views
from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.formats.arrays import ImageRows
from imgassets.formats.systemds_binary import write_sample_blocks
from imgassets.formats.systemds_csv import write_sample
from imgassets.formats.systemds_read import CsvFolder, open_sample
from imgassets.io.base import ArtifactIOManager, Metadata

SHOWN = 72


@dataclass(frozen=True)
class CsvSample:
    """What a sample is written from."""

    rows: Callable[[], AbstractContextManager[ImageRows]]
    order: NDArray[np.int64]
    """Global indices; a prefix of them becomes the sample."""
    columns: NDArray[np.int64]
    """One-hot column of every row, by global index."""
    split: str
    gib: float
    binary_block: bool
    notes: Mapping[str, Any]
    """For the sidecar: what the order was made from."""


class SystemDSIOManager(ArtifactIOManager):
    """A folder of matrices that SystemDS reads with `read("imagenet_train_2GB.csv")`, and the indices of their rows."""

    format: ClassVar[str] = "systemds-csv/1"

    def write(self, content: CsvSample, stage: Stage) -> Written:
        """Write a `CsvSample`."""
        with content.rows() as rows:
            facts = write_sample(
                stage, rows, content.order, content.columns, split=content.split, gib=content.gib, notes=content.notes
            )
            if content.binary_block:
                write_sample_blocks(
                    stage, rows, content.order[: facts.rows], content.columns, split=content.split, size=facts.size
                )
        return Written({**asdict(facts), "short_by": facts.short_by, "all_rows": facts.all_rows})

    def open(self, location: Location) -> CsvFolder:
        """A `CsvFolder` reader."""
        return open_sample(location.path)

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """The first images as the CSV holds them, and rows per class."""
        sample = self.open(location)
        first = next(sample.pixels())[:SHOWN]
        edge = round((first.shape[1] / 3) ** 0.5)
        images = first.reshape(-1, 3, edge, edge).transpose(0, 2, 3, 1)
        counts = np.zeros(manifest.facts["classes"], np.int64)
        for columns in sample.columns():
            counts += np.bincount(columns, minlength=len(counts))
        return {
            "contact_sheet": dg.MetadataValue.md(
                views.contact_sheet(images, "First rows of the CSV, read back from it")
            ),
            "rows_per_class": dg.MetadataValue.md(
                views.histogram(counts, "Rows per class", x="one-hot column (devkit label − 1)", y="rows")
            ),
        }

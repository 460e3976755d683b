"""`.npy` arrays as assets: what NumPy and PyTorch map without reading."""

from typing import Any, ClassVar

import dagster as dg
import numpy as np

from imgassets import views
from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.formats.arrays import Arrays, LabelledImages, write_arrays
from imgassets.io.base import ArtifactIOManager, Metadata

SHOWN = 72


class ArraysIOManager(ArtifactIOManager):
    """A folder with `images.npy` and `labels.npy`."""

    format: ClassVar[str] = "npy/1"

    def write(self, content: LabelledImages, stage: Stage) -> Written:
        """Write `LabelledImages`."""
        return write_arrays(content, stage)

    def open(self, location: Location) -> Arrays:
        """An `Arrays` reader."""
        return Arrays(location.path)

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """A contact sheet of images spread over the partition, and images per class."""
        arrays = self.open(location)
        shown = arrays.images[views.spread(len(arrays), SHOWN)].transpose(0, 2, 3, 1)
        counts = np.bincount(arrays.labels, minlength=1)
        metadata: dict[str, Any] = {
            "contact_sheet": views.contact_sheet(shown, "Images spread over the partition"),
            "images_per_class": views.histogram(counts, "Images per class", x="class_id", y="images"),
        }
        return {name: dg.MetadataValue.md(text) for name, text in metadata.items()}

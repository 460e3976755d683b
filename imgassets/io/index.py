"""Indexes as assets: Parquet for programs, a report for people."""

from typing import Any, ClassVar

import dagster as dg
import numpy as np

from imgassets import views
from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.formats.index import Index, IndexReader, write_index
from imgassets.io.base import ArtifactIOManager, Metadata


class IndexIOManager(ArtifactIOManager):
    """A folder with `index.parquet` and `report.json`."""

    format: ClassVar[str] = "index/1"

    def write(self, content: Index, stage: Stage) -> Written:
        """Write an `Index`."""
        return write_index(content, stage)

    def open(self, location: Location) -> IndexReader:
        """An `IndexReader`."""
        return IndexReader(location.path)

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """Column schema, and images per class where the index has classes."""
        reader = self.open(location)
        columns = [dg.TableColumn(field.name, str(field.type)) for field in reader.schema]
        metadata: dict[str, Any] = {"dagster/column_schema": dg.TableSchema(columns), "columns": len(columns)}
        if "class_id" in reader.schema.names:
            counts = np.bincount(reader.table(["class_id"])["class_id"].to_numpy())
            metadata["images_per_class"] = dg.MetadataValue.md(
                views.histogram(counts, "Images per class", x="class_id", y="images")
            )
        return metadata

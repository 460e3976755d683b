"""Embeddings as assets."""

from typing import ClassVar

import dagster as dg

from imgassets import views
from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.formats.embedding import Embedding, plot_path, write_embedding
from imgassets.io.base import ArtifactIOManager, Metadata


class EmbeddingIOManager(ArtifactIOManager):
    """A folder with the points (`.csv`), parameters and distances (`.json`) and `plot.png`."""

    format: ClassVar[str] = "embedding/2"

    def write(self, content: Embedding, stage: Stage) -> Written:
        """Write an `Embedding`."""
        write_embedding(content, stage)
        return Written(
            {"rows": content.points.num_rows, **content.report["samples"], "layers": content.report["layers"]}
        )

    def open(self, location: Location) -> Location:
        """The folder itself."""
        return location

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """The plot, and by layer how far generated images are from real ones."""
        from PIL import Image

        with Image.open(plot_path(location.path)) as picture:
            text = views.picture_markdown(picture.convert("RGB"), "UMAP of real and generated images")
        lines = ["| layer | Fréchet distance | precision | recall | coverage |", "|---|---|---|---|---|"]
        for layer, numbers in manifest.facts["layers"].items():
            values = (numbers[name] for name in ("frechet_distance", "precision", "recall", "coverage"))
            lines.append(f"| {layer} | {' | '.join(f'{value:.4g}' for value in values)} |")
        layers = manifest.facts["layers"].items()
        lines += [f"\n⚠ {layer}: {numbers['warning']}" for layer, numbers in layers if "warning" in numbers]
        return {"plot": dg.MetadataValue.md(text), "distances": dg.MetadataValue.md("\n".join(lines))}

"""Image stores as assets: an IO manager that writes a `Stored` by any codec and opens a `Store`."""

from dataclasses import dataclass
from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field

from imgassets import views
from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.io.base import ArtifactIOManager, Metadata
from imgassets.sources.base import Source
from imgassets.stores import Store
from imgassets.stores.registry import codec_of
from imgassets.stores.writing import StorePlan, write_store

SHOWN = 72


@dataclass(frozen=True)
class Stored:
    """What a store is written from."""

    source: Source
    plan: StorePlan


class StoreIOManager(ArtifactIOManager):
    """A folder that `imgassets.open_store` reads."""

    codec: str = Field(description="Name of the stores' codec.")

    @property
    def format(self) -> str:
        """Name and version of the codec."""
        return codec_of(self.codec).format

    def write(self, content: Stored, stage: Stage) -> Written:
        """Write a `Stored`, shard by shard."""
        return write_store(content.source, stage, content.plan)

    def open(self, location: Location) -> Store:
        """The store as a torch dataset."""
        return Store(location.path)

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """A contact sheet of images spread over the store, and images per class."""
        store = self.open(location)
        shown = views.spread(len(store), SHOWN)
        metadata: dict[str, Any] = {
            "contact_sheet": views.contact_sheet(thumbnails(store, shown), f"Images of {location.path.parent.name}"),
            "fields": "\n".join(f"- `{f.name}`: {f.kind} {f.dtype} {list(f.shape)} {f.layout}" for f in store.fields),
        }
        if store.class_to_idx:
            counts = np.bincount(store.labels, minlength=max(store.class_to_idx.values()) + 1)
            metadata["images_per_class"] = views.histogram(counts, "Images per class", x="label", y="images")
        for what, samples in {"skipped_samples": store.skipped, "damaged_samples": store.damaged}.items():
            if samples:
                lines = [f"| {s['index']} | {s['name']} | {s['reason']} |" for s in samples[:SHOWN]]
                metadata[what] = "\n".join(["| index | name | reason |", "|---|---|---|", *lines])
        return {name: dg.MetadataValue.md(text) for name, text in metadata.items()}


def thumbnails(store: Store, rows: Any, edge: int = 64) -> Any:
    """Images as uint8 (n, edge, edge, 3), the whole of each squeezed into the square, values stretched to 8 bits."""
    from PIL import Image

    tiles = []
    for image, *_ in store.__getitems__(rows.tolist()):
        pixels = image.numpy()
        pixels = pixels[:3] if pixels.shape[0] >= 3 else np.repeat(pixels[:1], 3, axis=0)
        if pixels.dtype != np.uint8:
            low, high = float(pixels.min()), float(pixels.max())
            pixels = ((pixels - low) * (255 / (high - low or 1))).astype(np.uint8)
        picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        tiles.append(np.asarray(picture.resize((edge, edge), Image.Resampling.BOX, reducing_gap=2.0)))
    return np.stack(tiles)

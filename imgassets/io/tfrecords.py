"""TFRecord shards as assets: one file per partition, as the ImageNet guides name and fill them."""

import io
from typing import Any, ClassVar

import dagster as dg
import numpy as np

from imgassets import views
from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.formats import imagenet_records, tfrecord
from imgassets.formats.record_index import FACT
from imgassets.formats.tf_example import image_example, parse
from imgassets.formats.tfrecord import TFRecordFile
from imgassets.io.base import ArtifactIOManager, Metadata
from imgassets.sources.tar_index import TarImages

SHOWN = 24
TILE = 48
"""Small sheets: there are a thousand shards, and every picture lies in the event log."""


def write_shard(images: TarImages, stage: Stage) -> Written:
    """Write one shard; what it leaves out or converts is listed with the reason."""
    stage.need(images.nbytes + len(images) * (imagenet_records.OVERHEAD + tfrecord.OVERHEAD))
    with stage.create(stage.location.path.name) as sink:
        facts = imagenet_records.write(sink, images)
    return Written(
        {
            "rows": facts.records,
            "converted": len(facts.converted),
            "left_out": len(images.left_out),
            "names": facts.names,
            FACT: facts.index.dump(),
        },
        [
            *images.left_out,
            *({"name": name, "reason": "converted to an RGB JPEG"} for name in facts.converted),
        ],
    )


class TFRecordsIOManager(ArtifactIOManager):
    """A file of `tf.train.Example` records; empty where a small release leaves a shard nothing."""

    format: ClassVar[str] = "tfrecord/1"
    folder: ClassVar[bool] = False

    def write(self, content: TarImages, stage: Stage) -> Written:
        """Write the images of `TarImages`, without those that have a problem, which are listed with it."""
        return write_shard(content, stage)

    def words_after(self, location: Location, manifest: Manifest) -> list[str]:
        """That a shard is done, as `imagenet_to_gcs.py` says it."""
        return [f"Finished writing file: {location.path}"]

    def open(self, location: Location) -> TFRecordFile:
        """A `TFRecordFile`."""
        return TFRecordFile(location.path)

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """A contact sheet of images spread over the shard."""
        records = self.open(location)
        listed: Metadata = {FACT: f"places and classes of {len(records)} images, in the manifest"}
        if not len(records):
            return listed
        shown = [image_example(parse(records[int(i)])) for i in views.spread(len(records), SHOWN)]
        sheet = views.contact_sheet(np.stack([_tile(image.encoded) for image in shown]), _title(shown), tile=TILE)
        return {"contact_sheet": dg.MetadataValue.md(sheet), **listed}


def _tile(encoded: bytes) -> Any:
    """uint8 (TILE, TILE, 3): the middle of an image, reduced while it is decoded."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(encoded), formats=["JPEG"]) as image:
        image.draft("RGB", (2 * TILE, 2 * TILE))
        return np.asarray(ImageOps.fit(image.convert("RGB"), (TILE, TILE), Image.Resampling.BOX))


def _title(images: list[Any]) -> str:
    return f"Images spread over the shard, from {images[0].filename} to {images[-1].filename}"

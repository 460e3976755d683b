"""Files that tell other programs of artifacts they lie beside; their content is their bytes."""

from typing import ClassVar

import dagster as dg

from imgassets.commit import Location, Stage, Written
from imgassets.formats import ct_split, tfds
from imgassets.io.base import ArtifactIOManager


class BesideIOManager(ArtifactIOManager):
    """One file of given bytes."""

    folder: ClassVar[bool] = False

    def write(self, content: bytes, stage: Stage) -> Written:
        """Write the file."""
        with stage.create(stage.location.path.name) as sink:
            sink.write(content)
        return Written()

    def open(self, location: Location) -> Location:
        """The file itself."""
        return location


class TfdsIOManager(BesideIOManager):
    """A file of `<dataset>/tfds` as the file `<dataset>/tfrecords/<partition>`."""

    format: ClassVar[str] = tfds.FORMAT

    def parts(self, asset_key: dg.AssetKey, partition: str) -> tuple[str, ...]:
        """Beside the shards it describes."""
        return (*asset_key.path[:-1], "tfrecords", partition)


class CtCardIOManager(BesideIOManager):
    """`<dataset>/card` of a split as the file `<dataset>/shards/<split>/README.md`."""

    format: ClassVar[str] = "ct_card/1"

    def parts(self, asset_key: dg.AssetKey, partition: str) -> tuple[str, ...]:
        """Beside the shards it describes."""
        return (*asset_key.path[:-1], "shards", partition, ct_split.CARD)

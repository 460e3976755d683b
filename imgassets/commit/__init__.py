"""The commit protocol: stage, checksum, publish, manifest, verify. It knows nothing of Dagster."""

from imgassets.commit.checksum import Checksums, xxh3_128
from imgassets.commit.manifest import FileRecord, Manifest, Recipe, load
from imgassets.commit.names import check_count, check_name, check_part
from imgassets.commit.owners import Owner
from imgassets.commit.sink import ScatterSink, Sink
from imgassets.commit.stage import Location, Stage
from imgassets.commit.vault import Commit, Vault, Written

__all__ = [
    "Checksums",
    "Commit",
    "FileRecord",
    "Location",
    "Manifest",
    "Owner",
    "Recipe",
    "ScatterSink",
    "Sink",
    "Stage",
    "Vault",
    "Written",
    "check_count",
    "check_name",
    "check_part",
    "load",
    "xxh3_128",
]

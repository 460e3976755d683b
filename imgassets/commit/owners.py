"""Whose a dataset is: a record of each in the vault, so that nobody removes what another made there.

A dataset is the first part of its artifacts' paths. Who writes to it first owns it; the record never changes.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imgassets import documents
from imgassets.commit.durable import fsync_above
from imgassets.commit.lock import file_of
from imgassets.commit.own import OWN, own_folder, share
from imgassets.commit.sink import write_durably
from imgassets.commit.stage import Location
from imgassets.errors import StoreError

OWNERS = "owners"
_durable: set[tuple[Path, int, int, int]] = set()
"""Records that this process has seen on disk: place, device, inode, time of change."""


@dataclass(frozen=True)
class Owner:
    """Who writes."""

    id: str
    project: str | None = None
    """Name of the project whose id it is: what a project owns, nobody else writes to."""
    former: str | None = None
    """Another id under which the same one wrote, before there was a project."""

    @property
    def ids(self) -> set[str | None]:
        """All of its ids."""
        return {self.id, self.former} - {None}


def dataset_of(location: Location) -> str:
    """The dataset an artifact belongs to."""
    return location.path.relative_to(location.root).parts[0]


def owner_of(location: Location) -> Owner | None:
    """Who owns the dataset at `location`; None without a record, nobody (`""`) where it cannot be read."""
    try:
        record = documents.parse(_record(location).read_bytes())
        return Owner(str(record["owner"]), record.get("project"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Owner("")


def admit(location: Location, owner: Owner) -> None:
    """Refuse to write to the dataset of a project that is not the writer's, or of others from within a project.

    Raises:
        StoreError: it is recorded as another's.
    """
    recorded = owner_of(location)
    if recorded is None or recorded.id in owner.ids or not (recorded.project or owner.project):
        return
    whose = f"the project {recorded.project}" if recorded.project else "somebody else"
    raise StoreError(
        f"{location.root / dataset_of(location)} belongs to {whose}, as {_record(location)} says: give this dataset "
        "another name, or let IMGASSETS_STORE name another vault."
    )


def claim(location: Location, owner: Owner) -> None:
    """Record durably whose the dataset is, unless that is recorded; the artifact's lock is held.

    Raises:
        StoreError: as `admit`; somebody may have been first.
    """
    record, fresh = _record(location), file_of(location).with_suffix(".owner")
    said = {"owner": owner.id} | ({"project": owner.project} if owner.project else {})
    try:
        fresh.unlink(missing_ok=True)  # of an attempt that was killed
        if not record.exists():
            own_folder(location.root, OWNERS)
            write_durably(fresh, (json.dumps(said) + "\n").encode())
            share(fresh, location.root)
            os.replace(fresh, record)
        _settle(record, location.root)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    admit(location, owner)


def _settle(record: Path, root: Path) -> None:
    """Make a record durable, once: another writer may have made it a moment ago."""
    stat = record.stat()
    known = (record, stat.st_dev, stat.st_ino, stat.st_ctime_ns)
    if known not in _durable:
        fsync_above(record, root)
        _durable.add(known)


def release(location: Location) -> None:
    """Forget whose a dataset is of which nothing is left."""
    if not (location.root / dataset_of(location)).exists():
        with suppress(OSError):
            _record(location).unlink()


def _record(location: Location) -> Path:
    return location.root / OWN / OWNERS / f"{dataset_of(location)}.json"

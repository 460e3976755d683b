"""Whose a dataset is: a record of each in the vault, so that nobody removes what another made there.

A dataset is the first part of its artifacts' paths. Who writes to it first owns it; the record never changes.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from imgassets.commit.lock import file_of
from imgassets.commit.own import OWN, own_folder, share
from imgassets.commit.publish import fsync_above
from imgassets.commit.sink import write_durably
from imgassets.commit.stage import Location

OWNERS = "owners"


def dataset_of(location: Location) -> str:
    """The dataset an artifact belongs to."""
    return location.path.relative_to(location.root).parts[0]


def owner_of(location: Location) -> str | None:
    """Who owns the dataset at `location`; None without a record, nobody (`""`) where it cannot be read."""
    try:
        return str(json.loads(_record(location).read_bytes())["owner"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def claim(location: Location, owner: str) -> None:
    """Record durably whose the dataset is, unless that is recorded; the artifact's lock is held."""
    record, fresh = _record(location), file_of(location).with_suffix(".owner")
    try:
        fresh.unlink(missing_ok=True)  # of an attempt that was killed
        if not record.exists():
            own_folder(location.root, OWNERS)
            write_durably(fresh, (json.dumps({"owner": owner}) + "\n").encode())
            share(fresh, location.root)
            os.replace(fresh, record)
        fsync_above(record, location.root)  # another writer may have made it a moment ago
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def release(location: Location) -> None:
    """Forget whose a dataset is of which nothing is left."""
    if not (location.root / dataset_of(location)).exists():
        with suppress(OSError):
            _record(location).unlink()


def _record(location: Location) -> Path:
    return location.root / OWN / OWNERS / f"{dataset_of(location)}.json"

"""Taking an artifact out of the vault, so that no reader ever sees a part of it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from imgassets import documents
from imgassets.commit import lock
from imgassets.commit.durable import fsync_folder, remove_tree
from imgassets.commit.manifest import load
from imgassets.commit.stage import MANIFEST, Location
from imgassets.commit.versions import leavings
from imgassets.errors import StoreError


def is_stage(folder: Path) -> bool:
    """Whether a folder is a stage indeed: it has a journal, or the manifest of an artifact that was being removed."""
    with suppress(OSError, ValueError, TypeError):
        head = (folder / "journal").read_text().partition("\n")[0]
        return bool(re.fullmatch("[0-9a-f]{32}", documents.parse(head)))
    with suppress(OSError, StoreError):
        return bool(load(folder / MANIFEST))
    return False


def remove(location: Location, *, stage_only: bool = False) -> None:
    """Remove the artifact at `location` and what was staged for it, and the folders above that are left empty.

    Raises:
        StoreError: somebody is writing it, or it cannot be removed.
    """
    try:
        with lock.Exclusive(location):
            remove_tree(location.stage)
            if not stage_only:
                if location.folder:
                    os.rename(location.path, location.stage)  # gone in one step, removed in many
                    remove_tree(location.stage)
                else:
                    location.path.unlink()
                    location.manifest.unlink()
                fsync_folder(location.path.parent)
            for path in leavings(location.path):
                remove_tree(path)
    except OSError as error:
        raise StoreError(f"{location.path} could not be removed: {error.strerror} ({error.filename}).") from error
    for folder in (*([] if location.folder else [location.manifest.parent]), *location.path.parents):
        if location.root not in folder.parents:
            break
        with suppress(OSError):  # one that holds anything stays
            folder.rmdir()

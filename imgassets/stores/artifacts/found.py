"""What a kind of artifact tells of its samples: what an image store says in `store.json`, and where the rows lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgassets.commit import FileRecord, load
from imgassets.commit.stage import MANIFEST
from imgassets.stores.codec import Extents
from imgassets.stores.storefile import StoreInfo


@dataclass(frozen=True)
class Found:
    """Samples in the files of a folder."""

    info: StoreInfo
    extents: Extents


@dataclass(frozen=True)
class Kind:
    """A kind of artifact with samples."""

    parts: Callable[[Path], Sequence[str]]
    """Names of the sets of samples in a folder; none where it is of another kind."""
    open: Callable[[Path, str], Found]
    """One of them. Raises StoreError, BadInput: it is damaged."""


def record_of(folder: Path, name: str) -> FileRecord:
    """A file as its manifest says, or where there is none as it is, without a checksum."""
    try:
        known = {record.name: record for record in load(folder / MANIFEST).files}
    except OSError:
        known = {}
    return known.get(name) or FileRecord(name, (folder / name).stat().st_size, "")

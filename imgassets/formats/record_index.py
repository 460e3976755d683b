"""Where the images of a TFRecord shard lie, and their classes: a fact of its manifest, so that nobody has to look."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.commit import Location, load
from imgassets.errors import StoreError

FACT = "index"
"""What it is called in the manifest."""
NONE = 0xFFFFFFFF
"""The class_id of a synset that is none of the 1000."""
ENTRY = np.dtype([("before", "<u4"), ("image", "<u4"), ("after", "<u4"), ("class_id", "<u4")])
"""Bytes of a record before its image, of the image, and after it, framing included; and the class_id."""


@dataclass(frozen=True)
class RecordIndex:
    """The records of a shard, in order."""

    entries: NDArray[Any]
    """(records,) of dtype `ENTRY`."""

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, int]]) -> RecordIndex:
        """From entries."""
        return cls(np.array(rows, ENTRY))

    @classmethod
    def parse(cls, text: str) -> RecordIndex:
        """The inverse of `dump`; ValueError if it is no such text."""
        return cls(np.frombuffer(base64.b64decode(text, validate=True), ENTRY))

    def dump(self) -> str:
        """Base64 of the entries."""
        return base64.b64encode(self.entries.tobytes()).decode()

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """int64 (records + 1,): where each record begins, and behind them the file's size."""
        sizes = sum(self.entries[name].astype(np.int64) for name in ("before", "image", "after"))
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def known(path: Path) -> RecordIndex | None:
    """The index of a shard that lies in a vault, or is a link to one; None of any other, or where it does not fit."""
    place = path.resolve()
    try:
        facts = load(Location(place.parent, place, folder=False).manifest).facts
        index = RecordIndex.parse(facts[FACT])
        fits = len(index.entries) == facts["rows"] and index.offsets[-1] == place.stat().st_size
    except (OSError, StoreError, KeyError, ValueError, TypeError):
        return None
    return index if fits else None

"""A codec as one value: how the rows of a store's shards lie in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgassets.columns import Columns, Field
from imgassets.commit import Stage
from imgassets.commit.names import ASIDE
from imgassets.stores.extents import Extent, Index, StoreFiles
from imgassets.stores.storefile import StoreInfo

Stem = Callable[[str, int, int], str]
"""What the names of a shard's files begin with: (split, shard, shards)."""
Write = Callable[[Stage, str, Sequence[Field], int, Iterable[Columns], Mapping[str, Any]], Sequence[str] | None]
"""Writes one shard: (stage, stem, fields, rows, blocks, options). Returns what the parts of its samples are called, in
a format where that depends on their content; `store.json` remembers it.

`stem` begins the name of each of its files, `blocks` have `rows` rows together, and `options` are `StorePlan.options`
with `numbers`, those of the samples, and `classes`, the names of labels.
"""
Weigh = Callable[[Sequence[Field], int, int, Mapping[str, Index], Mapping[str, Any]], int]
"""Bytes of a shard's files, uncompressed: (fields, rows, blocks, sizes, options); `blocks` says how many there are, and
`sizes` (rows,) of each field of variable size how many bytes its rows have."""
Extents = Callable[[StoreFiles, str, Sequence[Field], int], Iterable[tuple[str, Extent]]]
"""Each field's name with where its rows lie in a shard: (files, stem, fields, rows). Raises StoreError, or whatever a
library says of damaged bytes."""
Beside = Callable[[StoreInfo, str], Mapping[str, bytes]]
"""What other programs are told of a store of a split: files by name."""


def plain_stem(split: str, shard: int, shards: int) -> str:
    """`shard-000000`."""
    return f"shard-{shard:06d}"


def begins(stem: str, name: str) -> bool:
    """Whether a file's name begins with the stem and a dot."""
    return name.startswith(f"{stem}.")


def split_stem(split: str, shard: int, shards: int) -> str:
    """`data/train-00000-of-00002`: from such names others take which split a file is of."""
    return f"data/{split}-{shard:05d}-of-{shards:05d}"


@dataclass(frozen=True)
class Codec:
    """A format of image stores."""

    name: str
    """As in `stores: [memmap]` and `memmap_store`: a word."""
    version: int
    """Version of the layout that is written; another one makes what is there stale."""
    description: str
    """What its stores are for, in a sentence."""
    write: Write
    weigh: Weigh
    extents: Extents
    reads: tuple[int, ...] = ()
    """Earlier versions that `extents` reads as well."""
    keeps: tuple[int, ...] = ()
    """Those of them that do as well: a store of one stays current, though the next is written as `version`."""
    stem: Stem = plain_stem
    tidy: bool = False
    """Whether what only we read lies in the hidden folder `.store/`, for programs that take a folder as a whole."""
    mine: Callable[[str, str], bool] = begins
    """Whether a file belongs to a shard: (stem, name)."""
    beside: Beside | None = None
    kinds: frozenset[str] = frozenset()
    """Dagster's kinds of its assets, beside `pytorch`."""

    @property
    def format(self) -> str:
        """Name and version, as manifests and `store.json` have it: `memmap/1`."""
        return f"{self.name}/{self.version}"

    @property
    def formats(self) -> tuple[str, ...]:
        """All that it reads, the newest first."""
        return self.format, *(f"{self.name}/{version}" for version in self.reads)

    @property
    def kept(self) -> tuple[str, ...]:
        """Earlier ones whose stores stay current."""
        return tuple(f"{self.name}/{version}" for version in self.keeps)

    def own(self, name: str) -> str:
        """Where in a store a file lies that only we read."""
        return f"{ASIDE}/{name}" if self.tidy else name

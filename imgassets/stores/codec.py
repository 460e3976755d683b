"""A codec as one value: how the rows of a store's shards lie in files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from imgassets.columns import Columns, Field
from imgassets.commit import Stage
from imgassets.stores.extents import Extent, Index, StoreFiles


class Write(Protocol):
    """Writes one shard; `stem` begins the name of each of its files."""

    def __call__(
        self,
        stage: Stage,
        stem: str,
        fields: Sequence[Field],
        rows: int,
        blocks: Iterable[Columns],
        options: Mapping[str, Any],
    ) -> None:
        """`blocks` have `rows` rows together; `options` are `StorePlan.options`, `numbers` and `classes`."""


class Weigh(Protocol):
    """Tells the bytes of a shard's files, uncompressed."""

    def __call__(
        self, fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Index], options: Mapping[str, Any]
    ) -> int:
        """Of `rows` rows in `blocks` blocks; `sizes` (rows,) are those of each row of the fields of variable size."""


class Extents(Protocol):
    """Tells where the rows of a shard lie, by field."""

    def __call__(self, files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Mapping[str, Extent]:
        """Raises StoreError, or whatever a library says of damaged bytes."""


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

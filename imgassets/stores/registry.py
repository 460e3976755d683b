"""The five formats of an image store by name; another one is one module and one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Columns, Field
from imgassets.commit import Stage
from imgassets.errors import BadInput
from imgassets.stores.extents import Extent, StoreFiles

FORMATS: dict[str, str] = {
    name: f"imgassets.stores.codecs.{name}" for name in ("memmap", "hdf5", "parquet", "ipc", "tar")
}
"""Module of each format. A module is a `Format`."""

Sizes = NDArray[np.int64]


class Format(Protocol):
    """What a format's module offers."""

    NAME: str
    """Name and version of the bytes' layout that is written."""
    READS: Sequence[str]
    """Those of earlier versions that `extents` reads as well."""

    def write(
        self,
        stage: Stage,
        stem: str,
        fields: Sequence[Field],
        rows: int,
        blocks: Iterable[Columns],
        options: Mapping[str, Any],
    ) -> None:
        """Write one shard, `stem` beginning the name of each of its files."""
        ...

    def weigh(
        self, fields: Sequence[Field], rows: int, blocks: int, sizes: Mapping[str, Sizes], options: Mapping[str, Any]
    ) -> int:
        """Bytes of a shard's files, uncompressed: `rows` rows written in `blocks` blocks.

        `sizes` (rows,) are those of each row of the fields of variable size.
        """
        ...

    def extents(self, files: StoreFiles, stem: str, fields: Sequence[Field], rows: int) -> Mapping[str, Extent]:
        """Where the rows of a shard lie, by field."""
        ...


def format_of(name: str) -> Format:
    """The module of a format, given as `memmap` or `memmap/1`.

    Raises:
        BadInput: there is none of this name or version.
    """
    if name == "guide":
        return cast(Format, import_module("imgassets.stores.codecs.guide"))
    base, _, version = name.partition("/")
    if base not in FORMATS:
        raise BadInput(f"There is no store format {name!r}: choose one of {', '.join(FORMATS)}.")
    module = cast(Format, import_module(FORMATS[base]))
    if version and name not in (module.NAME, *module.READS):
        raise BadInput(f"This library reads {', '.join((module.NAME, *module.READS))}, not {name}: rebuild the store.")
    return module

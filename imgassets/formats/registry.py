"""The five formats of an image store by name; another one is one module and one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from imgassets.columns import Columns, Field
from imgassets.commit import Stage
from imgassets.errors import BadInput
from imgassets.formats.extents import Extent, Files

FORMATS: dict[str, str] = {name: f"imgassets.formats.{name}" for name in ("memmap", "hdf5", "parquet", "ipc", "tar")}
"""Module of each format. A module has `NAME`, `write` and `extents`; see `Format`."""


class Format(Protocol):
    """What a format's module offers."""

    NAME: str
    """Name and version of the bytes' layout."""

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

    def extents(self, files: Files, stem: str, fields: Sequence[Field], rows: int) -> Mapping[str, Extent]:
        """Where the rows of a shard lie, by field."""
        ...


def format_of(name: str) -> Format:
    """The module of a format, given as `memmap` or `memmap/1`.

    Raises:
        BadInput: there is none of this name or version.
    """
    if name == "guide":
        return cast(Format, import_module("imgassets.formats.guide"))
    base, _, version = name.partition("/")
    if base not in FORMATS:
        raise BadInput(f"There is no store format {name!r}: choose one of {', '.join(FORMATS)}.")
    module = cast(Format, import_module(FORMATS[base]))
    if version and name != module.NAME:
        raise BadInput(f"This library reads {module.NAME}, not {name}: rebuild the store.")
    return module

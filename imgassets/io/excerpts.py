"""What is read of an index, which recipes name rather than its files: one that gains a column makes nothing stale."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import xxhash

from imgassets.commit import Manifest
from imgassets.errors import StoreError

FACT = "facts."
"""Begins the name of a fact among those of columns."""


class Excerpt(str):
    """Names of columns and facts, and a checksum of them: `class_id,name:5f0c…`."""

    whole: str
    """Checksum of the whole artifact, by which recipes named it before there were excerpts."""

    def __new__(cls, text: str, whole: str) -> Self:
        """`text` as it stands in recipes."""
        made = super().__new__(cls, text)
        made.whole = whole
        return made


def excerpt(manifest: Manifest, open_: Callable[[], Any], columns: Iterable[str], facts: Iterable[str] = ()) -> Excerpt:
    """What is read of the index with this manifest, opened by `open_` only if an earlier version has written it.

    Raises:
        StoreError: it has no such column, or is damaged.
    """
    names = [*sorted(set(columns)), *(FACT + name for name in sorted(set(facts)))]
    return Excerpt(f"{','.join(names)}:{_checksum(manifest, open_, names)}", manifest.checksum)


def still_says(manifest: Manifest, open_: Callable[[], Any], checksum: str) -> bool:
    """Whether the artifact with this manifest is what a recipe means by `checksum`: its own, or that of an excerpt."""
    names, colon, found = checksum.rpartition(":")
    return _checksum(manifest, open_, names.split(",")) == found if colon else manifest.checksum == checksum


def _checksum(manifest: Manifest, open_: Callable[[], Any], names: list[str]) -> str:
    columns = [name for name in names if not name.startswith(FACT)]
    known = manifest.facts.get("columns") or _computed(manifest, open_, columns)
    try:
        said = {name: known[name] for name in columns}
        said |= {name: manifest.facts[name.removeprefix(FACT)] for name in names if name.startswith(FACT)}
    except KeyError as error:
        recipe = manifest.recipe
        raise StoreError(f"{recipe.artifact}/{recipe.partition} has no {error}: materialize it again.") from None
    return xxhash.xxh3_128_hexdigest(json.dumps(said, sort_keys=True, separators=(",", ":")).encode())


def _computed(manifest: Manifest, open_: Callable[[], Any], columns: Sequence[str]) -> Mapping[str, str]:
    """Checksums of the columns of an index whose manifest, an earlier version's, has none."""
    found = _known.setdefault(manifest.checksum, {})
    if missing := [name for name in columns if name not in found]:
        found |= open_().column_checksums(missing)
    return found


_known: dict[str, dict[str, str]] = {}
"""By checksum of the artifact: many partitions are made from one index."""

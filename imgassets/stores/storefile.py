"""`store.json`: what a store holds and in which files, written last; nothing in it depends on where the store lies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from imgassets import documents
from imgassets.columns import Field
from imgassets.commit import FileRecord, check_name
from imgassets.errors import StoreError

NAME = "store.json"
VERSION = 1
LISTED = 1000
"""Damaged samples that a shard names."""


@dataclass(frozen=True)
class Shard:
    """Some rows of a store and the files they lie in."""

    stem: str
    rows: int
    files: tuple[FileRecord, ...]
    skipped: tuple[Mapping[str, Any], ...] = ()
    """Samples that belong here but could not be read, each with `index`, `name` and `reason`."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """How many samples had something a reader should know of, e.g. `cmyk: 3`."""
    damaged: tuple[Mapping[str, Any], ...] = ()
    """Samples kept although a decoder complained of them, as `skipped`; the first `LISTED`, `notes` counts all."""
    parts: tuple[str, ...] = ()
    """What the parts of samples are called, in formats where that depends on their content."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values; without `damaged` and `parts` where there are none."""
        return {name: value for name, value in asdict(self).items() if value or name not in {"damaged", "parts"}}

    @classmethod
    def from_bytes(cls, raw: bytes) -> Shard:
        """Read a shard's own record."""
        return cls.from_json(json.loads(raw))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Shard:
        """The inverse of `to_json`."""
        files = tuple(FileRecord(check_name(f["name"]), int(f["bytes"]), str(f["xxh3_128"])) for f in document["files"])
        rows = int(document["rows"])
        if rows < 0 or any(record.bytes < 0 for record in files):
            raise ValueError("a negative size")
        notes = {str(what): int(count) for what, count in document["notes"].items()}
        lists = tuple(map(dict, document["skipped"])), notes, tuple(map(dict, document.get("damaged", ())))
        parts = tuple(map(str, document.get("parts", ())))
        return cls(check_name(document["stem"]), rows, files, *lists, parts)


@dataclass(frozen=True)
class StoreInfo:
    """Everything a reader has to know of a store."""

    format: str
    """Name and version, e.g. `memmap/1`."""
    fields: tuple[Field, ...]
    shards: tuple[Shard, ...]
    class_to_idx: Mapping[str, int] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    """What the store was made from and how (size, mode, …)."""

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def classes(self) -> list[str]:
        """Names of the labels 0, 1, …; none where labels are numbered otherwise."""
        names = sorted(self.class_to_idx, key=self.class_to_idx.__getitem__)
        return names if [self.class_to_idx[name] for name in names] == list(range(len(names))) else []

    @property
    def parts(self) -> list[str]:
        """What the parts of samples are called, of all shards."""
        return sorted({part for shard in self.shards for part in shard.parts})

    def field(self, name: str) -> Field:
        """A field by name; KeyError if there is none."""
        return {field.name: field for field in self.fields}[name]

    def dump(self) -> bytes:
        """The file's bytes."""
        document = {
            "imgassets_store": VERSION,
            "format": self.format,
            "rows": self.rows,
            "fields": [field.to_json() for field in self.fields],
            "shards": [shard.to_json() for shard in self.shards],
            "class_to_idx": dict(self.class_to_idx),
            "source": dict(self.source),
        }
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return text.encode(errors="surrogatepass")  # a name in a damaged file may be no text

    @classmethod
    def parse(cls, raw: bytes, where: str) -> StoreInfo:
        """Read the file's bytes.

        Raises:
            StoreError: they are damaged or of another version; names that leave the folder are refused.
        """
        try:
            document = documents.parse(raw, finite=True)
            if document["imgassets_store"] != VERSION:
                raise ValueError(f"version {document['imgassets_store']}")
            info = cls(
                str(document["format"]),
                tuple(map(Field.from_json, document["fields"])),
                tuple(map(Shard.from_json, document["shards"])),
                {str(name): int(idx) for name, idx in document["class_to_idx"].items()},
                dict(document["source"]),
            )
            info.field("image")
            if info.rows != document["rows"]:
                raise ValueError(f"{document['rows']} rows in the head, {info.rows} in the shards")
        except Exception as error:
            raise StoreError(f"{where} describes no image store of version {VERSION} ({error}): rebuild it.") from error
        return info


def split_of(partition: str) -> str:
    """The name by which other programs know the split that a partition is: `val`, and `train` where there is one."""
    word = re.sub(r"\W", "_", partition)[:40]
    return "train" if word in {"", "all"} else word


def skipped(shards: Sequence[Shard]) -> list[Mapping[str, Any]]:
    """Every sample left out, in order."""
    return [sample for shard in shards for sample in shard.skipped]


def damaged(shards: Sequence[Shard]) -> list[Mapping[str, Any]]:
    """Samples kept although they are damaged, in order."""
    return [sample for shard in shards for sample in shard.damaged]


def notes(shards: Sequence[Shard]) -> dict[str, int]:
    """Counts of all shards together."""
    total: dict[str, int] = {}
    for shard in shards:
        for name, count in shard.notes.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items()))

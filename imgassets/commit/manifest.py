"""What an artifact is, from what it was made, and the checksum of every file of it.

A manifest holds no clock, host or absolute path: the same inputs give the same manifest, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from imgassets.commit.names import check_name
from imgassets.errors import StoreError

VERSION = 1
_NONE = object()
_KEYS = {"imgassets", "fingerprint", "recipe", "files", "facts", "exceptions"}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an artifact's bytes. Two equal recipes give two equal artifacts."""

    artifact: str
    """Asset key, e.g. `imagenet64/arrays`."""
    partition: str
    inputs: Mapping[str, str]
    """Checksum by name: raw files by their path under the raw root, artifacts by `key/partition`."""
    config: Mapping[str, Any]
    """JSON values: the settings that change the bytes, and only those."""
    format: str
    """Name and version of the bytes' layout, e.g. `npy/1`."""
    code_version: str
    defaults: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Values of settings that go without saying: `config` names only the settings that have others.

    A setting that a later version adds leaves all recipes as they are. Neither `defaults` nor `formerly` is written.
    """
    formerly: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """The checksum by which recipes of earlier versions named an input, by the input's name."""
    kept: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Earlier formats that do as well: what was written in them need not be made again. It is not written."""

    @property
    def document(self) -> dict[str, Any]:
        """What is written of it, as JSON values."""
        return {
            "artifact": self.artifact,
            "partition": self.partition,
            "inputs": dict(self.inputs),
            "config": dict(self.config),
            "format": self.format,
            "code_version": self.code_version,
        }

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal XXH3-128 of the recipe's canonical JSON."""
        return xxhash.xxh3_128_hexdigest(_canonical(self.document))

    def in_terms_of(self, now: Recipe) -> Recipe:
        """This recipe as it would be written now, given what `now` knows of what earlier versions wrote."""
        inputs = {
            name: now.inputs.get(name, checksum) if checksum == now.formerly.get(name) else checksum
            for name, checksum in self.inputs.items()
        }
        format_ = now.format if self.format in now.kept else self.format
        return replace(self, inputs=inputs, config=unsaid(self.config, now.defaults), format=format_)

    def makes(self, made: Recipe) -> bool:
        """Whether what `made` has made is what this recipe would make."""
        return made.fingerprint == self.fingerprint or made.in_terms_of(self).fingerprint == self.fingerprint


def unsaid(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`config` without what has its default, also within settings of several values."""
    found = {}
    for name, value in config.items():
        default = defaults.get(name, _NONE)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            if rest := unsaid(value, default):
                found[name] = rest
        elif default is _NONE or _canonical([value]) != _canonical([default]):
            found[name] = value
    return found


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact."""

    name: str
    bytes: int
    xxh3_128: str


@dataclass(frozen=True)
class Manifest:
    """The commit record: an artifact without one does not exist."""

    recipe: Recipe
    files: tuple[FileRecord, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the writer counted (rows, classes, …), as JSON values."""
    exceptions: tuple[Mapping[str, Any], ...] = ()
    """Samples left out or changed, each with its reason."""

    @property
    def total_bytes(self) -> int:
        """Total size of the files."""
        return sum(record.bytes for record in self.files)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every setting it was made with, also those that the recipe leaves out."""
        found: Mapping[str, Any] = self.facts.get("settings", self.recipe.config)
        return found

    @cached_property
    def checksum(self) -> str:
        """XXH3-128 over names and checksums of all files: the artifact's identity as an input of others."""
        return xxhash.xxh3_128_hexdigest(_canonical([asdict(record) for record in self.files]))

    def dump(self) -> bytes:
        """The manifest's bytes."""
        document = {
            "imgassets": VERSION,
            "fingerprint": self.recipe.fingerprint,
            "recipe": self.recipe.document,
            "files": [asdict(record) for record in self.files],
            "facts": self.facts,
            "exceptions": list(self.exceptions),
        }
        document["checksum"] = _checksum(document)
        return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        FileNotFoundError: there is none.
        StoreError: it is damaged, or of another version; names in it that leave the folder are refused.
    """
    raw = path.read_bytes()
    try:
        document = json.loads(raw)
        if document["imgassets"] != VERSION:
            raise ValueError(f"version {document['imgassets']}")
        files = tuple(FileRecord(check_name(f["name"]), int(f["bytes"]), str(f["xxh3_128"])) for f in document["files"])
        manifest = Manifest(Recipe(**document["recipe"]), files, document["facts"], tuple(document["exceptions"]))
        checksum = document.pop("checksum", None)  # manifests of earlier versions have none
        edited = (
            set(document) != _KEYS  # one more may be the damaged word `checksum`
            or document["fingerprint"] != manifest.recipe.fingerprint
            or checksum not in {None, _checksum(document)}
        )
    except Exception as error:
        raise StoreError(f"{path} is no manifest of version {VERSION} ({error}): rebuild the partition.") from error
    if edited:
        raise StoreError(f"{path} was edited or damaged: its checksums do not fit its content; rebuild the partition.")
    return manifest


def _checksum(document: Mapping[str, Any]) -> str:
    """XXH3-128 over all that a manifest says, itself left out; `Manifest.checksum` is that of the files."""
    return xxhash.xxh3_128_hexdigest(_canonical(document))


def _canonical(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

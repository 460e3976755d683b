"""The commit protocol's one door: make an artifact, or prove that it need not be made."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgassets.commit import lock
from imgassets.commit.checksum import Checksums, xxh3_128
from imgassets.commit.manifest import Manifest, Recipe, load
from imgassets.commit.names import check_part
from imgassets.commit.publish import restore_aside
from imgassets.commit.stage import Location, Stage, free_bytes
from imgassets.errors import ImgassetsError, MissingUpstream, StoreError


@dataclass(frozen=True)
class Written:
    """What a writer reports of the artifact it wrote; both go into the manifest, as JSON values."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    exceptions: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Commit:
    """An artifact that is in place; `fresh` unless it was there before, proven unchanged."""

    location: Location
    manifest: Manifest
    fresh: bool


@dataclass(frozen=True)
class Store:
    """A folder of artifacts (`root`), and the folder of its locks and remembered checksums (`state`)."""

    root: Path
    state: Path

    @property
    def checksums(self) -> Checksums:
        """The memory of files' checksums, shared by inputs and artifacts."""
        return Checksums(self.state / "checksums.sqlite")

    def location(self, *parts: str, folder: bool) -> Location:
        """Place of an artifact, which is always inside the root.

        Raises:
            BadInput: a part cannot be a file's name.
        """
        return Location(self.root, self.root.joinpath(*map(check_part, parts)), folder)

    def manifest(self, location: Location) -> Manifest:
        """The manifest of an artifact whose files are all there in full size.

        Raises:
            MissingUpstream: there is no such artifact.
            StoreError: a file of it is missing or has another size, or the manifest is damaged.
        """
        try:
            manifest = load(location.manifest)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingUpstream(f"{location.path} does not exist yet: materialize it first.") from None
        for record in manifest.files:
            path = location.file(record.name)
            size = path.stat().st_size if path.is_file() else None
            if size != record.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise StoreError(
                    f"{path} {found}, its manifest says {record.bytes} bytes: materialize the partition again."
                )
        return manifest

    def proven(self, location: Location, recipe: Recipe) -> Manifest | None:
        """The manifest, if the artifact there was made by `recipe` and every file has its size and checksum."""
        try:
            manifest = self.manifest(location)
        except (MissingUpstream, StoreError):
            return None
        checksums = self.checksums
        good = manifest.recipe.fingerprint == recipe.fingerprint and all(
            checksums.of(location.file(record.name)) == record.xxh3_128 for record in manifest.files
        )
        return manifest if good else None

    def verify(self, location: Location) -> Manifest:
        """Read every byte of an artifact again, whatever is remembered of it.

        Raises:
            MissingUpstream, StoreError: as `manifest`; also where a checksum differs.
        """
        manifest = self.manifest(location)
        for record in manifest.files:
            found = xxh3_128(location.file(record.name))
            if found != record.xxh3_128:
                raise StoreError(
                    f"{location.file(record.name)} is damaged: its XXH3-128 is {found}, its manifest says "
                    f"{record.xxh3_128}; materialize the partition again."
                )
        return manifest

    def commit(
        self, location: Location, recipe: Recipe, write: Callable[[Stage], Written], *, force: bool = False
    ) -> Commit:
        """Make the artifact at `location` by `write`, whole or not at all; do nothing where it is proven to be there.

        Raises:
            StoreError: the store is full or unwritable, or another process is writing this artifact.
            ImgassetsError: whatever `write` raises; nothing new remains then.
        """
        with lock.exclusive(location.path, self.state / "locks"):
            restore_aside(location.path)
            if not force and (manifest := self.proven(location, recipe)):
                if location.stage.exists():
                    shutil.rmtree(location.stage)
                return Commit(location, manifest, fresh=False)
            stage = Stage(location, recipe)
            try:
                stage.open(resume=not force)
                written = write(stage)
                manifest = stage.publish(written.facts, written.exceptions)
            except BaseException as error:
                stage.discard()
                if isinstance(error, OSError):
                    raise _store_error(error, location) from error
                raise
            self._remember(location, manifest)
            return Commit(location, manifest, fresh=True)

    def _remember(self, location: Location, manifest: Manifest) -> None:
        checksums = self.checksums
        for record in manifest.files:
            checksums.remember(location.file(record.name), record.xxh3_128)


def _store_error(error: OSError, location: Location) -> ImgassetsError:
    place = error.filename or location.path
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        there = next(p for p in location.path.parents if p.exists())
        return StoreError(
            f"The disk is full ({os.strerror(error.errno)}) while writing {location.path}: "
            f"{free_bytes(there) / 2**20:.1f} MiB free at {there}; free some space and run again."
        )
    return StoreError(
        f"{location.path} could not be written: {error.strerror or error} ({place}); mend that and run again."
    )

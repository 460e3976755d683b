"""The commit protocol's one door: make an artifact, or prove that it need not be made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any, ClassVar

from imgassets.commit import lock, owners
from imgassets.commit.checksum import Checksums, digest_of
from imgassets.commit.durable import fsync_folder, make_folders, remove_tree
from imgassets.commit.manifest import FileRecord, Manifest, Recipe, load
from imgassets.commit.names import check_part
from imgassets.commit.owners import Owner
from imgassets.commit.publish import Unfinished, recover
from imgassets.commit.stage import Location, Stage, store_error
from imgassets.commit.versions import aside, leavings
from imgassets.errors import BadInput, MissingUpstream, StoreError, Taken


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
class Vault:
    """A folder of artifacts (`root`), and the folder in which its files' checksums are remembered (`state`)."""

    root: Path
    state: Path
    owner: Callable[[str], Owner] | None = None
    """Owner, by dataset, of what is written here; None where no record is kept."""
    looking: ClassVar[bool] = False
    """Whether this is no more than a look, for which nothing is read, and nobody waits for a server."""

    @property
    def checksums(self) -> Checksums:
        """The memory of files' checksums, shared by inputs and artifacts."""
        return Checksums(self.state / "checksums.sqlite")

    def memory(self, name: str, compute: Callable[[Path], str]) -> Checksums:
        """A memory of checksums of another kind, such as those a repository lists."""
        return Checksums(self.state / f"{name}.sqlite", compute)

    def location(self, *parts: str, folder: bool) -> Location:
        """Place of an artifact, which is always inside the root.

        Raises:
            BadInput: a part cannot be a file's name.
        """
        return Location(self.root, self.root.joinpath(*map(check_part, parts)), folder)

    def manifest(self, location: Location) -> Manifest:
        """The manifest of an artifact whose files are all there in full size.

        It may be read while the artifact is published anew: the manifest is then that of the version before or of
        the new one. The same holds for every single file that is opened by its path, which is never missing and
        never torn. Several files opened one after the other are of one version if `manifest` says the same before
        the first and after the last was opened (and that version was not replaced and brought back in between).

        Raises:
            MissingUpstream: there is no such artifact.
            StoreError: a file of it is missing, has another size or cannot be read, or the manifest is damaged.
        """
        return self._settled(location, _size_misfit)

    def verify(self, location: Location) -> Manifest:
        """Read every byte of an artifact again, whatever is remembered of it.

        Raises:
            MissingUpstream, StoreError: as `manifest`; also where a checksum differs.
        """
        return self._settled(location, _checksum_misfit)

    def owns(self, location: Location) -> bool:
        """Whether a record in the vault says that what lies at `location` is of a dataset of the same owner."""
        recorded = owners.owner_of(location)
        return recorded is not None and self.owner is not None and recorded.id in self._owner(location).ids

    def proven(self, location: Location, recipe: Recipe) -> Manifest | None:
        """The manifest, if the artifact there was made by `recipe` and every file has its size and checksum."""
        checksums = self.checksums
        try:
            manifest = self.manifest(location)
            good = recipe.makes(manifest.recipe) and all(
                checksums.of(location.file(record.name)) == record.xxh3_128 for record in manifest.files
            )
        except (MissingUpstream, StoreError, BadInput):
            return None
        return manifest if good else None

    def commit(
        self, location: Location, recipe: Recipe, write: Callable[[Stage], Written], *, force: bool = False
    ) -> Commit:
        """Make the artifact at `location` by `write`, whole or not at all; do nothing where it is proven to be there.

        Raises:
            Taken: another process is writing this artifact.
            StoreError: the vault is full or unwritable.
            ImgassetsError: whatever `write` raises; nothing new remains then.
        """
        turn = lock.Exclusive(location)
        try:
            if not force and (manifest := self.proven(location, recipe)):
                self._tidy(location, turn)
                return Commit(location, manifest, fresh=False)
            with turn:
                self._recover(location)
                if not force and (manifest := self.proven(location, recipe)):
                    location.clear()
                    return Commit(location, manifest, fresh=False)
                manifest = self._make(location, recipe, write, resume=not force)
                for record in manifest.files:
                    self.checksums.remember(location.file(record.name), record.xxh3_128)
                return Commit(location, manifest, fresh=True)
        except OSError as error:
            raise store_error(error, location) from error
        finally:
            turn.release()  # for an interrupt, which may have come before `with` did

    def _make(self, location: Location, recipe: Recipe, write: Callable[[Stage], Written], *, resume: bool) -> Manifest:
        if self.owner:
            owners.admit(location, self._owner(location))
        stage = Stage(location, recipe)
        try:
            stage.open(resume=resume)
            written = write(stage)
            if self.owner:
                owners.claim(location, self._owner(location))
            return stage.publish(written.facts, written.exceptions)
        except Unfinished:
            raise
        except OSError as error:
            told = store_error(error, location)  # before room is made, so that it tells how little there was
            stage.discard()
            raise told from error
        except BaseException:
            stage.discard()
            raise

    def _owner(self, location: Location) -> Owner:
        assert self.owner
        return self.owner(owners.dataset_of(location))

    def _tidy(self, location: Location, turn: lock.Exclusive) -> None:
        """Remove what a writer that died left beside an artifact that is proven; one that is alive does so itself."""
        left = (location.stage, aside(location.path), aside(location.manifest), lock.file_of(location))
        if leavings(location.path) or any(os.path.lexists(path) for path in left):
            with suppress(Taken), turn:
                self._recover(location)
                location.clear()

    def _recover(self, location: Location) -> None:
        """Bring what an attempt left that died while publishing into order: the old version or the new one, whole."""
        recover(location.path)
        if location.stage.exists():
            # what died may not have been durable yet, and the stage, which may hold the other version, is about to go
            for folder in (location.path.parent, location.manifest.parent):
                if folder.exists():
                    fsync_folder(folder)
        if location.folder:
            return
        with suppress(FileNotFoundError, NotADirectoryError, StoreError):
            path, _ = self._in_effect(location)
            if path != location.manifest:
                make_folders(location.manifest.parent)
                os.replace(path, location.manifest)
                fsync_folder(location.manifest.parent)
        remove_tree(aside(location.manifest))

    def _settled(self, location: Location, misfit: Callable[[Path, FileRecord], str | None]) -> Manifest:
        """The manifest that all files fit. One that they do not fit is looked at again: it may just be going out."""
        before = None
        while True:
            try:
                _, manifest = self._in_effect(location)
            except (FileNotFoundError, NotADirectoryError):
                raise MissingUpstream(f"{location.path} does not exist yet: materialize it first.") from None
            except OSError as error:
                raise StoreError(f"{location.path} cannot be read: {error.strerror} ({error.filename}).") from error
            problem = next(filter(None, (misfit(location.file(r.name), r) for r in manifest.files)), None)
            if problem is None:
                return manifest
            if manifest == before:
                raise StoreError(f"{problem}: materialize the partition again.")
            before = manifest

    def _in_effect(self, location: Location) -> tuple[Path, Manifest]:
        """The manifest that counts, and where it lies.

        A file and its manifest are two names, moved one after the other: in between, and after a kill in between,
        the file's checksum tells whose it is.
        """
        waiting = [] if location.folder else [location.staged_manifest, aside(location.manifest)]
        if any(path.exists() for path in waiting):
            for path in (location.manifest, *waiting):
                with suppress(OSError, StoreError, BadInput):
                    manifest = load(path)
                    if [record.xxh3_128 for record in manifest.files] == [self.checksums.of(location.path)]:
                        return path, manifest
        return location.manifest, load(location.manifest)


def _size_misfit(path: Path, record: FileRecord) -> str | None:
    try:
        stat = path.stat()
    except OSError as error:
        return f"{path} is missing or cannot be read ({error.strerror})"
    if S_ISREG(stat.st_mode) and stat.st_size == record.bytes:
        return None
    return f"{path} has {stat.st_size} bytes, its manifest says {record.bytes} bytes"


def _checksum_misfit(path: Path, record: FileRecord) -> str | None:
    if problem := _size_misfit(path, record):
        return problem
    try:
        found = digest_of(path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if found == record.xxh3_128:
        return None
    return f"{path} is damaged: its XXH3-128 is {found}, its manifest says {record.xxh3_128}"

"""One artifact being written: a hidden sibling of its final place, with a journal of the files that are finished."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from imgassets import documents
from imgassets.commit.checksum import digest_of
from imgassets.commit.durable import fsync_above, fsync_folder, fsync_tree, make_folders, raise_it, remove_tree
from imgassets.commit.manifest import FileRecord, Manifest, Recipe
from imgassets.commit.names import check_name
from imgassets.commit.publish import place
from imgassets.commit.sink import ScatterSink, Sink, append_durably, write_durably
from imgassets.errors import StoreError
from imgassets.progress import Progress

log = logging.getLogger(__name__)

MANIFEST = ".imgassets.json"
AnySink = TypeVar("AnySink", Sink, ScatterSink)


@dataclass(frozen=True)
class Location:
    """Where an artifact lies: a file, or a folder of files."""

    root: Path
    """The vault's root, in which `path` lies."""
    path: Path
    folder: bool

    @property
    def manifest(self) -> Path:
        """In the folder, or in `.imgassets/` beside the file."""
        return self.path / MANIFEST if self.folder else self.path.parent / ".imgassets" / f"{self.path.name}.json"

    @property
    def stage(self) -> Path:
        """The hidden sibling in which the next version is made."""
        return self.path.with_name(f".{self.path.name}.stage")

    @property
    def staged_manifest(self) -> Path:
        """Of a file: the manifest that is about to take its place. A folder holds its manifest at any time."""
        return self.stage / MANIFEST

    def clear(self) -> None:
        """Remove what staging left of an artifact that is in place."""
        try:
            remove_tree(self.stage)
        except OSError as error:
            log.warning("%s is in place; its stage is left for the next run to remove: %s", self.path, error)

    def file(self, name: str) -> Path:
        """Place of one of the artifact's files."""
        return self.path / name if self.folder else self.path


class Stage:
    """The next version of one artifact.

    `create`, `scatter` and `link` add files; each is durable and in the journal before the next begins, so that an
    attempt that was killed can be taken up again: `finished` tells what is there already, checksum verified.
    """

    def __init__(self, location: Location, recipe: Recipe) -> None:
        self.location = location
        self.recipe = recipe
        self.progress: Progress | None = None
        """Told of every byte that is written through a sink, and of the total once `need` knows it."""
        self._root = location.stage
        self._files = self._root / "files"
        self._journal = self._root / "journal"
        self._records: dict[str, FileRecord] = {}

    def open(self, *, resume: bool) -> None:
        """Take up what a killed attempt at the same recipe left, or begin anew."""
        self._records = self._proven_records() if resume else {}
        if self._records:
            self._remove_strays()
            self.location.staged_manifest.unlink(missing_ok=True)
        else:
            remove_tree(self._root)
            make_folders(self._files)
            write_durably(self._journal, json.dumps(self.recipe.fingerprint).encode())
            fsync_folder(self._root)
        fsync_above(self._root, self.location.root)

    def need(self, nbytes: int) -> None:
        """Check beforehand that `nbytes` more fit.

        Raises:
            StoreError: they do not; says how many are needed and free, and where.
        """
        if self.progress:
            self.progress.total = nbytes
        free = free_bytes(self._files)
        staged = sum(record.bytes for record in self._records.values())
        if nbytes - staged > free:
            raise StoreError(
                f"Not enough space for {self.recipe.artifact}/{self.recipe.partition}: needs {_size(nbytes - staged)}, "
                f"{_size(free)} free at {self.location.path.parent}; free some space, or move IMGASSETS_STORE."
            )

    def finished(self, name: str) -> FileRecord | None:
        """The record of a file that an earlier attempt finished, its checksum verified; None where there is none."""
        return self._records.get(name)

    def names(self) -> list[str]:
        """The finished files, sorted."""
        return sorted(self._records)

    def read(self, name: str) -> bytes:
        """The content of a finished file."""
        return (self._files / self._records[name].name).read_bytes()

    def create(self, name: str) -> AbstractContextManager[Sink]:
        """A new file of the artifact, as a sink; durable and recorded on exit, gone on error."""
        return self._filled(name, Sink)

    def scatter(self, name: str) -> AbstractContextManager[ScatterSink]:
        """The same, for a file whose parts are not written in order."""
        return self._filled(name, ScatterSink)

    def link(self, source: Path, record: FileRecord) -> None:
        """Take up a finished file of another artifact by the name that is recorded of it.

        Raises:
            StoreError: its bytes are not those that are recorded.
        """
        path = self._path_for(record.name)
        with self._gone_on_error(path):
            os.link(source, path)
            if digest_of(path) != record.xxh3_128:
                raise StoreError(f"{source} is damaged: delete {source.parent} and run again.")
        self._record(record)

    def publish(self, facts: Mapping[str, Any], exceptions: Sequence[Mapping[str, Any]]) -> Manifest:
        """Move the files to their place, the manifest last; the version before stays whole until then.

        Raises:
            StoreError: there is more or less than the one file this artifact is.
            OSError: the version before is in place.
            Unfinished: it could not be put back; the stage must stay.
        """
        records = tuple(self._records[name] for name in sorted(self._records))
        manifest = Manifest(self.recipe, records, facts, tuple(exceptions))
        final = self.location
        self._remove_strays()
        if final.folder:
            write_durably(self._files / MANIFEST, manifest.dump())
            fsync_tree(self._files)
            place((self._files, final.path))
        else:
            if [record.name for record in records] != [final.path.name]:
                raise StoreError(f"{final.path} is one file, but {len(records)} others were written for it.")
            write_durably(final.staged_manifest, manifest.dump())
            fsync_folder(self._root)
            place((self._files / final.path.name, final.path), (final.staged_manifest, final.manifest))
        final.clear()
        return manifest

    def discard(self) -> None:
        """Remove everything this attempt has made, and the folders above that are left empty."""
        with suppress(OSError):  # the error that led here is the one to tell
            remove_tree(self._root)
        folders = [self.location.manifest.parent, *self.location.path.parents]
        for folder in folders:
            if folder == self.location.root or folder == self.location.path:
                continue
            if self.location.root not in folder.parents:
                break
            with suppress(OSError):  # one that holds anything stays
                folder.rmdir()

    @contextmanager
    def _filled(self, name: str, kind: type[AnySink]) -> Iterator[AnySink]:
        path = self._path_for(name)
        with self._gone_on_error(path):
            sink = kind(path, self.progress)
            try:
                try:
                    yield sink
                finally:
                    sink.check()  # rather than what a library makes of it, even nothing
                sink.close()
            finally:
                sink.abandon()
        self._record(FileRecord(name, sink.tell(), sink.digest()))

    @contextmanager
    def _gone_on_error(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            told = store_error(error, self.location)
            path.unlink(missing_ok=True)
            raise told from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _path_for(self, name: str) -> Path:
        path = self._files / check_name(name)
        if self._records.pop(name, None):
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _record(self, record: FileRecord) -> None:
        self._records[record.name] = record
        append_durably(self._journal, b"\n" + json.dumps(asdict(record)).encode())

    def _proven_records(self) -> dict[str, FileRecord]:
        try:
            head, *lines = self._journal.read_text().split("\n")
            if documents.parse(head) != self.recipe.fingerprint:
                return {}
        except (OSError, ValueError):
            return {}
        records: dict[str, FileRecord] = {}
        for line in lines:
            with suppress(ValueError, TypeError, OSError):  # a line that was cut off, a file that is gone
                record = FileRecord(**documents.parse(line))
                path = self._files / check_name(record.name)
                records.pop(record.name, None)
                if path.stat().st_size == record.bytes and digest_of(path) == record.xxh3_128:
                    records[record.name] = record
        return records

    def _remove_strays(self) -> None:
        """Leave exactly the finished files: nothing that a kill cut off, or a library forgot, is published."""
        for folder, folders, names in os.walk(self._files, topdown=False, onerror=raise_it):
            for path in (Path(folder, name) for name in names):
                if path.relative_to(self._files).as_posix() not in self._records:
                    path.unlink()
            for path in (Path(folder, name) for name in folders):
                if path.is_symlink():
                    path.unlink()
                elif not any(path.iterdir()):
                    path.rmdir()


def free_bytes(path: Path) -> int:
    """Bytes an ordinary user can still write at `path`."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def store_error(error: OSError, location: Location) -> StoreError:
    """What to tell of an error of the operating system; of a full disk, before room is made again."""
    place = Path(os.fsdecode(error.filename or location.path)).absolute()
    # libraries that write by themselves tell the cause in words only
    if error.errno in {errno.ENOSPC, errno.EDQUOT} or os.strerror(errno.ENOSPC) in str(error):
        return StoreError(
            f"The disk is full ({os.strerror(error.errno or errno.ENOSPC)}) while writing {location.path}: "
            f"{_room(place)}; free some space and run again."
        )
    return StoreError(
        f"{location.path} could not be written: {error.strerror or error} ({place}); mend that and run again."
    )


def _room(path: Path) -> str:
    for folder in path.parents:
        with suppress(OSError):
            return f"{_size(free_bytes(folder))} free at {folder}"
    return "nothing free"


def _size(nbytes: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= factor / 10:
            return f"{nbytes / factor:.1f} {unit}"
    return f"{nbytes} bytes"

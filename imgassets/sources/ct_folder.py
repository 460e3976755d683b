"""CT volumes in a folder of any shape, as hospitals hand them over: NIfTI files, and perhaps a table of them.

A volume is called after its path: `p12/scan 1.nii.gz` is `p12_scan-1`. The table is a CSV with the column `id` (a path
below the folder, or a file's name where no other has it), and whichever of `split`, `report` and `patient` there are;
every other column is a class, of 0 or 1, unless `labels` names those that are.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from imgassets.errors import BadInput
from imgassets.sources.batches import natural_key
from imgassets.sources.ct_rate import Table, VolumeRow, key_of, labels_of, read_table
from imgassets.sources.hub import Folder, RemoteFile, sha256_of

SUFFIXES = (".nii.gz", ".nii")
ID, SPLIT, REPORT, PATIENT = "id", "split", "report", "patient"


@dataclass(frozen=True)
class VolumeWalk:
    """Volumes below a folder, by path, and what else there is: (what it is, path)."""

    volumes: Mapping[str, Path]
    passed_over: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CtFolder(Folder):
    """The volumes below `root`, with or without a `table`; without a column `split` patients are dealt by `shares`.

    A patient is what the column `patient` says; without one, the uppermost folder that a volume lies in, or a volume
    that lies in none.
    """

    digest: Callable[[Path], str] = lambda path: sha256_of(path)
    table: Path | None = None
    labels: tuple[str, ...] | None = None
    shares: tuple[tuple[str, float], ...] = ()

    def pin(self) -> str:
        """The first 40 digits of a SHA-256 over path and SHA-256 of every volume, and the table's."""
        lines = [f"{file.sha256} {file.path}\n" for file in self.list("", "")]
        lines += [f"{self.digest(self.table)} table\n"] if self.table else []
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:40]

    def walk(self) -> VolumeWalk:
        """Look at every file below the root."""
        volumes, others = {}, []
        for where, folders, names in os.walk(self.root, followlinks=True):
            folders.sort()
            for path in (Path(where, name) for name in names):
                relative = path.relative_to(self.root).as_posix()
                if any(part.startswith(".") for part in relative.split("/")):
                    others.append(("hidden", relative))
                elif not path.is_file():
                    others.append(("no file", relative))
                elif relative.endswith(SUFFIXES):
                    volumes[relative] = path
                else:
                    table = self.table is not None and path.samefile(self.table)
                    others.append(("the table" if table else "no volume", relative))
        ordered = {path: volumes[path] for path in sorted(volumes, key=natural_key)}
        return VolumeWalk(ordered, others)

    def read(self) -> Table | None:
        """The table.

        Raises BadInput where it is none.
        """
        return None if self.table is None else read_table(self.table, self.table.name, (), key=ID)

    def classes(self, table: Table | None) -> tuple[str, ...]:
        """Names of the classes, in the table's order.

        Raises BadInput where `labels` names no column, or a column without being asked for holds other values.
        """
        others = [name for name in table.columns if name not in (ID, SPLIT, REPORT, PATIENT)] if table else []
        if self.labels is not None:
            if missing := [name for name in self.labels if name not in others]:
                raise BadInput(f"labels: {missing[0]!r:.60} is no column of the table, only {others!s:.200}.")
            return self.labels
        for name in others:
            assert table is not None
            odd = next(((key, row[name]) for key, row in table.rows.items() if not labels_of([row[name]])), None)
            if odd:
                raise BadInput(
                    f"{table.name}: {name!r:.60} is {odd[1]!r:.40} for {odd[0]:.60}, no label of 0 or 1: name the "
                    "columns that are classes, labels: […]."
                )
        return tuple(others)

    def rows(self, split: str, splits: Sequence[str]) -> Sequence[VolumeRow]:
        """The volumes of a split, without their spacing, in natural order; of files without a row those of the first.

        Raises BadInput where a row may mean two files, a patient is in two splits, or nothing says whose a split is.
        """
        table, files = self.read(), {file.path: file for file in self.list("", "")}
        named = _by_path(table, files)
        told = {path: key for key, path in named.items() if path}
        of_split = self._splits(table, {path: told.get(path) for path in files}, splits)
        classes, keys = self.classes(table), Counter(map(volume_key, files))
        first = {volume_key(path): path for path in reversed(files)}
        found = []
        for path, file in files.items():
            if of_split[path] != split or first[volume_key(path)] != path:
                continue
            row = self._row(volume_key(path), file, table, told.get(path), classes)
            found.append(replace(row, skip="two files have this name") if keys[row.key] > 1 else row)
        for key in (key for key, path in named.items() if path is None):
            if table and table.rows[key].get(SPLIT, splits[0]) == split:
                absent = VolumeRow(volume_key(key), None, None, None, (), "")
                found.append(replace(absent, skip=f"absent: listed in {table.name}, no such file in the folder"))
        return sorted(found, key=lambda row: natural_key(row.key))

    def _row(
        self, key: str, file: RemoteFile, table: Table | None, told: str | None, classes: Sequence[str]
    ) -> VolumeRow:
        said = table.rows[told] if table and told else {}
        labels = labels_of([said.get(name, "") for name in classes])
        row = VolumeRow(key, file, None, None, labels, said.get(REPORT, "").strip())
        if len(key) > 90:
            return replace(row, skip="its path is longer than 90 letters, which a shard's keys may have")
        if table and told is None:
            return replace(row, skip=f"unlisted: no row in {table.name}")
        if table and told in table.contradicted:
            return replace(row, skip=f"contradictory rows in {table.name}")
        if len(labels) != len(classes):
            return replace(row, skip="its labels in the table are not all 0 or 1")
        return row

    def _splits(self, table: Table | None, told: Mapping[str, str | None], splits: Sequence[str]) -> dict[str, str]:
        """The split of each file."""
        said = {path: table.rows[key] if table and key else {} for path, key in told.items()}
        patients = {path: row.get(PATIENT, "") or path.partition("/")[0] for path, row in said.items()}
        if table and SPLIT in table.columns:
            of = {path: row.get(SPLIT, splits[0]).strip() for path, row in said.items()}
        elif len(splits) == 1:
            of = dict.fromkeys(told, splits[0])
        elif not self.shares:
            raise BadInput(
                f"Nothing says which volumes are of {', '.join(splits)}: give the table a column {SPLIT!r}, or say "
                "split_shares: {" + ", ".join(f"{name}: {1 / len(splits):.2g}" for name in splits) + "}."
            )
        else:
            of = {path: dealt(patient, self.shares) for path, patient in patients.items()}
        if table and PATIENT in table.columns:
            _refuse_shared(patients, {path: of[path] for path, key in told.items() if key})
        return of

    def list(self, revision: str, folder: str) -> Iterator[RemoteFile]:
        """All volumes, in natural order."""
        for path, place in self.walk().volumes.items():
            yield RemoteFile(path, place.stat().st_size, self.digest(place))


def dealt(patient: str, shares: Sequence[tuple[str, float]]) -> str:
    """The split of a patient: by a hash of the name alone, so that others who come later move nobody."""
    place = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8]) / 2**64 * sum(share for _, share in shares)
    ends = accumulate(share for _, share in shares)
    return next((name for (name, _), end in zip(shares, ends, strict=True) if place < end), shares[-1][0])


def volume_key(path: str) -> str:
    """What a volume is called in shards: its path, with `_` for its slashes and `-` for what else keys cannot have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", key_of(path).replace("/", "_"))


def _by_path(table: Table | None, files: Mapping[str, RemoteFile]) -> dict[str, str | None]:
    """The file that each row of the table means."""
    paths, bases = {key_of(path): path for path in files}, defaultdict(list)
    for path in files:
        bases[key_of(path.rpartition("/")[2])].append(path)
    found: dict[str, str | None] = {}
    for key in table.rows if table else ():
        wanted = key_of(key.strip()).replace("\\", "/").removeprefix("./")
        candidates = [paths[wanted]] if wanted in paths else bases.get(wanted, [])
        if len(candidates) > 1:
            assert table is not None
            raise BadInput(
                f"{table.name}: {key!r:.60} is the name of {len(candidates)} files, {', '.join(candidates[:2])!s:.150}"
                ": give their paths below the folder."
            )
        found[key] = candidates[0] if candidates else None
    return found


def _refuse_shared(patients: Mapping[str, str], of: Mapping[str, str]) -> None:
    """BadInput where a patient is in two splits, as a test set that was trained on; names the volumes."""
    first: dict[str, str] = {}
    for path, split in of.items():
        other = first.setdefault(patients[path], path)
        if of[other] != split:
            raise BadInput(
                f"{volume_key(other):.60} is of {of[other]} and {volume_key(path):.60} of {split}, and the table says "
                "that they are of one patient: put all volumes of a patient into one split."
            )

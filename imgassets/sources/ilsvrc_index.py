"""The index of one split of ILSVRC2012: its archive scanned, its labels attached, its checksums compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xxhash

from imgassets.classes import imagenet_classes
from imgassets.errors import BadInput
from imgassets.sources import tar_index
from imgassets.sources.ilsvrc import (
    ARCHIVES,
    MD5SUMS,
    expected,
    label_files,
    present_synsets,
    refuse_contradictions,
    train_groups,
    validation_synsets,
)
from imgassets.sources.nested_tar import Tape, walk
from imgassets.sources.walk import is_stray

if TYPE_CHECKING:
    import pyarrow as pa

Labels = Literal["full", "present"]


@dataclass(frozen=True)
class IlsvrcIndex:
    """One split, ready to be written."""

    table: pa.Table
    report: dict[str, Any]
    """What was found, as JSON values: the archive and its MD5 (null where its size is not that of the published one and
    nothing else is known of it), counts, images that are damaged or strange."""
    checksum: str
    """Hexadecimal XXH3-128 of the archive, computed in the same pass."""
    walked: int
    """Files in the archive."""


@dataclass(frozen=True)
class Ilsvrc:
    """The folder that holds the archives, and how their labels are made.

    `labels` is `full` for 1 + the rank among all 1000 synsets, `present` for 1 + the rank among those that occur in
    `splits`. The two agree on the whole release.
    """

    folder: Path
    splits: Sequence[str] = tuple(ARCHIVES)
    labels: Labels = "full"
    verify_md5: bool = False

    def archive(self, split: str) -> Path:
        """The tar of a split.

        Raises:
            BadInput: it is not there.
        """
        path = self.folder / ARCHIVES[split].file
        if not path.is_file():
            raise BadInput(f"{path} is missing: download it from image-net.org, or declare only the splits you have.")
        return path

    def inputs(self, split: str) -> list[Path]:
        """The files beside the archive that decide the index."""
        sums = self.folder / MD5SUMS
        return [*(label_files(self.folder) if split == "validation" else []), *([sums] if sums.exists() else [])]

    def label_order(self) -> list[str]:
        """The synsets that labels 1, 2, … stand for."""
        if self.labels == "full":
            return list(imagenet_classes().synsets)
        return present_synsets(self.folder, self.splits)

    def label_fingerprint(self) -> str:
        """`full`, or `present` and a checksum of the synsets that labels stand for."""
        if self.labels == "full":
            return self.labels
        return f"{self.labels}:{xxhash.xxh3_128_hexdigest(' '.join(self.label_order()).encode())}"

    def index(
        self,
        split: str,
        *,
        workers: int = 1,
        passed: Callable[[int], object] = lambda nbytes: None,
    ) -> IlsvrcIndex:
        """Scan a split's archive in one pass.

        Raises:
            BadInput: the archive is damaged or hostile, its labels do not fit it, it changed meanwhile, or its MD5
                differs and `verify_md5` is set.
        """
        path = self.archive(split)
        order = self.label_order()
        synsets = None if split == "train" else validation_synsets(self.folder)
        wanted, size = expected(self.folder, split), path.stat().st_size
        md5, whole, before = hashlib.md5(usedforsecurity=False), xxhash.xxh3_128(), _identity(path)
        digests = (whole, md5) if wanted.bytes in {None, size} else (whole,)
        with Tape(path, *digests) as tape:
            groups = train_groups(tape) if split == "train" else _validation_group(tape)
            found = tar_index.scan(tape, groups, workers=workers, passed=passed)
        if _identity(path) != before:
            raise BadInput(f"{path} changed while it was read: wait until it is complete, then run again.")
        archive = {
            "file": path.name,
            "bytes": size,
            "md5": md5.hexdigest() if md5 in digests else None,
            "expected_md5": wanted.md5,
            "expected_bytes": wanted.bytes,
            "expected_by": wanted.source,
        }
        if self.verify_md5 and archive["md5"] != wanted.md5:
            raise BadInput(
                f"{path} ({size} bytes, MD5 {archive['md5'] or 'not computed'}) is not what {wanted.source} has "
                f"({f'{wanted.bytes} bytes, ' if wanted.bytes else ''}MD5 {wanted.md5}): download it again, or set "
                "verify_md5 to false for a repacked archive."
            )
        if not len(found.table):
            raise BadInput(f"{path} holds no images, expected members named .JPEG.")
        if synsets is not None and len(synsets) != len(found.table):
            names = " and ".join(file.name for file in label_files(self.folder))
            raise BadInput(
                f"{names} in {self.folder} has {len(synsets)} lines but {path.name} holds {len(found.table)} images, "
                "expected one line for each: use the labels that belong to this archive."
            )
        if synsets is not None:
            refuse_contradictions(path, list(map(str, found.table["name"].to_pylist())), synsets)
        table = tar_index.label(found, synsets, imagenet_classes().class_id, order)
        report = {"archive": archive} | _summary(table, found.strays)
        return IlsvrcIndex(table, report, whole.hexdigest(), found.members)


def _validation_group(tape: Tape) -> Iterator[tuple[str, Iterator[Any]]]:
    yield "", walk(tape.read, 0, tape.size, tape.path.name)


def _identity(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _why_stray(name: str) -> str:
    left = is_stray(name.rpartition("/")[2])
    return "was left there by another system" if left else "is not named .JPEG, so it is no image"


def _summary(table: pa.Table, strays: list[str]) -> dict[str, Any]:
    synsets = {synset: count for (synset,), count in _counts(table, "synset")}
    return {
        "images": len(table),
        "synsets": len(synsets),
        "images_per_synset": synsets,
        "kinds": {" ".join(kind): count for kind, count in _counts(table, "format", "colour") if None not in kind},
        "damaged": _listed(table, "problem"),
        "warnings": _listed(table, "warning"),
        "strays": [{"name": name, "reason": _why_stray(name)} for name in strays],
    }


def _counts(table: pa.Table, *columns: str) -> list[tuple[tuple[Any, ...], int]]:
    """How often each combination of values occurs, sorted."""
    found = table.group_by(list(columns)).aggregate([([], "count_all")]).to_pylist()
    return sorted(((tuple(row[c] for c in columns), row["count_all"]) for row in found), key=str)


def _listed(table: pa.Table, column: str) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    rows = table.select(["name", column]).filter(pc.is_valid(table[column])).to_pylist()
    return [{"name": row["name"], "reason": row[column]} for row in rows]

"""The index of a split of a folder of CT volumes: what its walk, its table and the files' headers tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imgassets.components.ct.axes import counted
from imgassets.components.ct.index import facts_of, index_of, table_of
from imgassets.errors import BadInput
from imgassets.formats.index import Index
from imgassets.sources.ct_folder import CtFolder, volume_key
from imgassets.sources.ct_rate import VolumeRow, cut, why_none
from imgassets.sources.walk import passing
from imgassets.volumes.nifti import read_header
from imgassets.volumes.orientation import to_ras

SHOWN = 3
"""Files that a message names."""


@dataclass(frozen=True)
class FolderSettings:
    """What of a folder becomes the index of `split`, one of `splits`; see `CtFolder` for the rest."""

    split: str
    splits: tuple[str, ...]
    samples_per_shard: int
    sample_bytes: int
    labels: tuple[str, ...] | None
    shares: tuple[tuple[str, float], ...]


def make_folder_index(folder: CtFolder, revision: str, settings: FolderSettings) -> Index:
    """List the volumes of a split, read their headers, and cut them into shards.

    Raises BadInput when the table is not what it should be, or no volume can be used.
    """
    axes: dict[str, str] = {}
    rows = [_headed(folder, row, axes) for row in folder.rows(settings.split, settings.splits)]
    listing = replace(cut(rows, settings.samples_per_shard, {}), walked=_walked(folder, rows))
    used = [volume for volume in listing.volumes if volume.skip is None]
    if not used:
        raise BadInput(
            f"{folder.name} has no usable volume of {settings.split} ({len(rows)} listed): "
            f"{why_none(rows) or _nothing(folder)}."
        )
    classes = list(folder.classes(folder.read()))
    facts = facts_of(revision, settings.split, settings.samples_per_shard, settings.sample_bytes, listing)
    facts |= {"class_names": classes, "axes": counted(axes)}
    table = table_of(listing.volumes, settings.split)
    table = table.append_column("axes", [[axes.get(str(key)) for key in table["key"].to_pylist()]])
    return index_of(folder.name, listing, facts, table, classes)


def class_names(facts: Any, otherwise: Sequence[str]) -> Sequence[str]:
    """What the labels of an index mean, of one that says so."""
    found: Iterable[str] = facts.get("class_names", otherwise)
    return tuple(found)


def _headed(folder: CtFolder, row: VolumeRow, axes: dict[str, str]) -> VolumeRow:
    """A row with its file's spacing, or with the reason for which it cannot be used; `axes` takes its codes."""
    if row.skip is not None or row.file is None:
        return row
    try:
        header = read_header(folder.root / row.file.path)
    except BadInput as error:
        return replace(row, skip=f"unreadable: {error}")
    if header.affine is not None:
        axes[row.key] = to_ras(header.affine).codes
    return replace(row, spacing=header.spacing)


def _nothing(folder: CtFolder) -> str:
    names = ", ".join(path for _, path in folder.walk().passed_over[:SHOWN])
    return f"no .nii or .nii.gz is for it in the folder{f' (but {names})' if names else ''}"


def _walked(folder: CtFolder, rows: Sequence[VolumeRow]) -> dict[str, Any]:
    """How many files and rows without one there were, and what is no row of this split."""
    walk, keys, listed = folder.walk(), {row.key for row in rows}, {row.file.path for row in rows if row.file}
    others = [("another file of that name" if volume_key(path) in keys else "in another split", path)
              for path in walk.volumes if path not in listed]  # fmt: skip
    total = len(walk.volumes) + len(walk.passed_over) + sum(row.file is None for row in rows)
    return passing(total, [*walk.passed_over, *others])

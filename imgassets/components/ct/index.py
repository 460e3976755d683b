"""The index of a CT split: from a repository's tree and tables to one row per volume, and back."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgassets.commit import check_count
from imgassets.errors import BadInput
from imgassets.formats.index import Index
from imgassets.sources.ct_rate import (
    CLASSES,
    NO_CHEST,
    SUFFIXES,
    Listing,
    VolumeRow,
    join,
    prevalence,
    read_list,
    read_table,
    skips,
    table_paths,
    why_none,
)
from imgassets.sources.ct_webdataset import Archives
from imgassets.sources.hub import RemoteFile, Repository

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = {
    "metadata": ("RescaleSlope", "RescaleIntercept", "XYSpacing", "ZSpacing"),
    "labels": CLASSES[:1],
    "reports": ("Findings_EN", "Impressions_EN"),
}

NO_WORDS = frozenset({"nan", "none", "null", "na", "n/a", "<na>", "nat", "not", "given", "given.", "-", "."})
"""What a report is made of that stands for none, in lower case."""


@dataclass(frozen=True)
class IndexSettings:
    """What of a repository becomes the index of `split`: the volumes below `folder`, in shards of `samples_per_shard`.

    `spacing` says whether volumes without spacing in the table are left out; `exclude_lists` are the lists of the
    repository that name what else is, None that of the volumes without a chest, if it has one.
    """

    split: str
    folder: str
    samples_per_shard: int
    spacing: bool
    sample_bytes: int
    exclude_lists: tuple[str, ...] | None = None


def make_index(repository: Repository, revision: str, settings: IndexSettings, work: Path) -> Index:
    """List the volumes and cut them into shards; tables pass through the folder `work`, which is removed again.

    Raises BadInput when a table is missing or not what it should be, when no volume is left, or with too many shards.
    """
    if isinstance(repository, Archives):
        listing = repository.listing(settings.samples_per_shard)
    else:
        listing = _joined(repository, revision, settings, work)
    used = [volume for volume in listing.volumes if volume.skip is None]
    if not used:
        raise BadInput(
            f"{repository.name} has no usable volume of {settings.split} ({len(listing.volumes)} listed): "
            f"{_elsewhere(repository, revision, settings)}{why_none(listing.volumes) or 'nothing is listed'}."
        )
    facts = facts_of(revision, settings.split, settings.samples_per_shard, settings.sample_bytes, listing)
    return index_of(repository.name, listing, facts, table_of(listing.volumes, settings.split))


def facts_of(revision: str, split: str, samples_per_shard: int, sample_bytes: int, listing: Listing) -> dict[str, Any]:
    """What the manifest of an index says.

    Raises BadInput with too many shards.
    """
    check_count(f"The asset of the shards of {split}", listing.shards)
    used = [volume for volume in listing.volumes if volume.skip is None]
    return {
        "revision": revision,
        "shards": listing.shards,
        "samples_per_shard": samples_per_shard,
        "volumes_in_shards": len(used),
        "skipped": len(listing.volumes) - len(used),
        "source_bytes": sum(volume.file.size for volume in used if volume.file),
        "sample_bytes": sample_bytes,
        "output_bytes": len(used) * sample_bytes,
    }


def index_of(
    name: str, listing: Listing, facts: dict[str, Any], table: pa.Table, classes: Sequence[str] = CLASSES
) -> Index:
    """The index of a listing of the repository `name`."""
    exceptions = [{"key": volume.key, "reason": volume.skip} for volume in listing.volumes if volume.skip]
    empty = [volume.key for volume in listing.volumes if volume.skip is None and says_nothing(volume.report)]
    if empty:
        facts["without_report"] = len(empty)
    report = _report(name, listing, facts, classes) | ({"without_report": empty} if empty else {})
    return Index(table, report, facts | dict(listing.walked), exceptions)


def says_nothing(report: str) -> bool:
    """Whether a report is empty, or what programs and people write where there is none: `nan`, `Not given`."""
    return set(report.casefold().split()) <= NO_WORDS


def _joined(repository: Repository, revision: str, settings: IndexSettings, work: Path) -> Listing:
    split = settings.split
    files = {file.path: file for folder in ("metadata", "multi_abnormality_labels", "radiology_text_reports")
             for file in repository.list(revision, f"dataset/{folder}")}  # fmt: skip
    tables = {}
    try:
        for kind, path in table_paths(split).items():
            if path not in files:
                raise BadInput(f"{repository.name} has no {path}: is it shaped like CT-RATE?")
            tables[kind] = read_table(repository.fetch(files[path], revision, work), path, NEEDED[kind])
        excluded = {}
        for path in _exclude_lists(repository.name, files, settings):
            named = read_list(repository.fetch(files[path], revision, work))
            excluded.update(dict.fromkeys(named, path))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return join(
        repository.list(revision, settings.folder),
        tables["metadata"],
        tables["labels"],
        tables["reports"],
        settings.samples_per_shard,
        spacing=settings.spacing,
        excluded=excluded,
    )


def _exclude_lists(name: str, files: Mapping[str, RemoteFile], settings: IndexSettings) -> list[str]:
    if settings.exclude_lists is None:
        return [path for path in (NO_CHEST.replace("{split}", settings.split),) if path in files]
    if missing := [path for path in settings.exclude_lists if path not in files]:
        raise BadInput(f"{name} has no {missing[0]}, which exclude_lists names.")
    return list(settings.exclude_lists)


def _elsewhere(repository: Repository, revision: str, settings: IndexSettings) -> str:
    """That nothing lies where volumes are looked for, and where they do."""
    if isinstance(repository, Archives) or any(map(_is_volume, repository.list(revision, settings.folder))):
        return ""
    parent = settings.folder.rpartition("/")[0]
    found = Counter("/".join(file.path.split("/")[: parent.count("/") + 2])
                    for file in repository.list(revision, parent) if _is_volume(file))  # fmt: skip
    places = ", ".join(f"{number} in {folder}" for folder, number in found.most_common(3))
    return f"nothing lies in {settings.folder}" + (f" (but {places}: set folder)" if found else "") + "; "


def _is_volume(file: RemoteFile) -> bool:
    return file.path.endswith(SUFFIXES)


def _report(name: str, listing: Listing, facts: dict[str, Any], classes: Sequence[str]) -> dict[str, object]:
    return {
        "repository": name,
        **facts,
        "skipped_by_reason": dict(sorted(skips(listing.volumes).items())),
        "label_counts": prevalence(listing.volumes, classes),
        **{kind: list(keys) for kind, keys in listing.reconciliation.items()},
    }


def table_of(volumes: Iterable[VolumeRow], split: str) -> pa.Table:
    """One row per volume."""
    import pyarrow as pa

    columns: dict[str, pa.DataType] = {
        "key": pa.string(),
        "split": pa.string(),
        "shard": pa.int32(),
        "skip": pa.string(),
        "path": pa.string(),
        "size": pa.int64(),
        "sha256": pa.string(),
        "git_sha1": pa.string(),
        "spacing_x": pa.float64(),
        "spacing_y": pa.float64(),
        "spacing_z": pa.float64(),
        "rescale_slope": pa.float64(),
        "rescale_intercept": pa.float64(),
        "labels": pa.list_(pa.int8()),
        "report": pa.string(),
    }
    schema = pa.schema(columns)
    none3, none2, nofile = (None,) * 3, (None,) * 2, RemoteFile("", 0)
    rows = []
    for v in volumes:
        file = v.file or nofile
        place = (file.path or None, file.size if v.file else None, file.sha256, file.git_sha1)
        numbers = (*(v.spacing or none3), *(v.scale or none2))
        rows.append((v.key, split, v.shard, v.skip, *place, *numbers, list(v.labels), v.report))
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


ROW_COLUMNS = (
    *("path", "size", "sha256", "git_sha1", "spacing_x", "spacing_y", "spacing_z", "rescale_slope"),
    *("rescale_intercept", "key", "labels", "report", "skip", "shard"),
)
"""What `rows_of` reads of an index."""


def rows_of(table: pa.Table) -> list[VolumeRow]:
    """The rows of a table made by `table_of`."""
    files = zip(*(table[name].to_pylist() for name in ("path", "size", "sha256", "git_sha1")), strict=True)
    spacings = zip(*(table[name].to_pylist() for name in ("spacing_x", "spacing_y", "spacing_z")), strict=True)
    scales = zip(*(table[name].to_pylist() for name in ("rescale_slope", "rescale_intercept")), strict=True)
    others = (table[name].to_pylist() for name in ("key", "labels", "report", "skip", "shard"))
    return [
        VolumeRow(
            key,
            RemoteFile(*file) if file[0] else None,
            None if None in spacing else spacing,
            None if None in scale else scale,
            tuple(labels),
            report,
            skip,
            shard,
        )
        for file, spacing, scale, key, labels, report, skip, shard in zip(files, spacings, scales, *others, strict=True)
    ]


def by_shard(volumes: Iterable[VolumeRow]) -> dict[int, list[VolumeRow]]:
    """The volumes of each shard, in order."""
    shards: dict[int, list[VolumeRow]] = {}
    for volume in volumes:
        if volume.shard is not None:
            shards.setdefault(volume.shard, []).append(volume)
    return shards

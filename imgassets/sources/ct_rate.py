"""CT-RATE's layout: which volumes there are, what its tables say of them, and which shard each belongs to.

Names and columns as on the hub (ibrahimhamamci/CT-RATE): volumes `dataset/<split>_fixed/**/<key>.nii.gz`, and three
tables keyed by VolumeName, whose files say `validation` where everything else says `valid`.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imgassets.errors import BadInput
from imgassets.foreign import HEAD, foreign
from imgassets.sources.batches import natural_key
from imgassets.sources.hub import RemoteFile
from imgassets.sources.walk import passing

NO_CHEST = "dataset/metadata/no_chest_{split}.txt"
"""The hub's list of volumes that show no chest, a file name per line."""
SUFFIXES = (".nii.gz", ".nii", ".npz")
CLASSES = (
    "Medical material", "Arterial wall calcification", "Cardiomegaly", "Pericardial effusion",
    "Coronary artery wall calcification", "Hiatal hernia", "Lymphadenopathy", "Emphysema", "Atelectasis", "Lung nodule",
    "Lung opacity", "Pulmonary fibrotic sequela", "Pleural effusion", "Mosaic attenuation pattern",
    "Peribronchial thickening", "Consolidation", "Bronchiectasis", "Interlobular septal thickening",
)  # fmt: skip
"""The dataset's abnormalities, in the order of its label tables."""
NOT_GIVEN = "Not given."
NAME = re.compile(r"[\w.+-]+")
EXCLUDED = "excluded"
"""How the reason begins for which a volume is left out that a list names."""
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
"""As Python, JSON, numpy and DICOM write it; not with a comma for its point, which stands between numbers too."""
NAMELESS = re.compile(r"(Unnamed: \d+(\.\d+)?)?")
"""A column that pandas saved its index as, once or twice."""
KINDS = (
    "listed_but_absent",
    "present_but_unlisted",
    "without_spacing",
    "names_of_two_files",
    "rows_repeated",
    "rows_contradicted",
)
"""What may not fit together in a repository."""


def table_paths(split: str) -> dict[str, str]:
    """Repository path of the three tables: `metadata`, `labels`, `reports`."""
    long = "validation" if split == "valid" else split
    return {
        "metadata": f"dataset/metadata/{long}_metadata.csv",
        "labels": f"dataset/multi_abnormality_labels/{split}_predicted_labels.csv",
        "reports": f"dataset/radiology_text_reports/{long}_reports.csv",
    }


@dataclass(frozen=True)
class Table:
    """One CSV: a row per key (first one wins), and the keys that come again with other values."""

    name: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]
    repeated: frozenset[str]
    contradicted: frozenset[str]


def read_table(path: Path, name: str, needed: Iterable[str], key: str = "VolumeName") -> Table:
    """Read a CSV keyed by the column `key`; columns without a name, which pandas makes of its index, are passed over.

    Raises BadInput when a column of `needed` is missing or a row is ragged, with its line.
    """
    rows: dict[str, Mapping[str, str]] = {}
    repeated, contradicted = set(), set()
    line = 1
    with path.open("rb") as opened:
        if what := foreign(opened.read(HEAD), text=True):
            raise BadInput(f"{name} {what}.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = tuple(column for column in reader.fieldnames or () if not NAMELESS.fullmatch(column))
            if missing := [c for c in (key, *needed) if c not in columns]:
                raise BadInput(f"{name} has no column {missing[0]!r}, only {list(columns)[:6]}: is it the right file?")
            line = reader.line_num + 1  # where the next row begins; values may have several lines
            for values in reader:
                row = {column: values[column] for column in columns}
                if None in values or None in values.values():
                    found = sum(value is not None for column, value in values.items() if column is not None) + len(
                        values.get(None) or ()
                    )
                    expected = len(reader.fieldnames or ())
                    raise BadInput(f"{name}, line {line}: {found} values, {expected} are expected.")
                line = reader.line_num + 1
                volume = key_of(row[key])
                if volume in rows:
                    repeated.add(volume)
                    if row != rows[volume]:
                        contradicted.add(volume)
                rows.setdefault(volume, row)
    except UnicodeDecodeError as error:
        raise BadInput(f"{name} is not in UTF-8 ({error}): save it as UTF-8.") from error
    except csv.Error as error:
        raise BadInput(
            f"{name}, line {line}: {error}; a quotation mark within a value is written twice, the value between two."
        ) from error
    return Table(name, columns, rows, frozenset(repeated), frozenset(contradicted))


def read_list(path: Path) -> frozenset[str]:
    """Keys of the volumes that a list names: a file name or path per line, blank ones and what follows a # passed over.

    Raises BadInput where it is no text, or for the first line that is no name.
    """
    data = path.read_bytes()
    if what := foreign(data[:HEAD], text=True):
        raise BadInput(f"{path.name} {what}.")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name} is no list in UTF-8 ({error}).") from error
    names = [line.partition("#")[0].strip("\"',; \t").rpartition("/")[2] for line in lines]
    if wrong := next((line for line, name in enumerate(names, 1) if name and not NAME.fullmatch(name)), None):
        raise BadInput(f"{path.name}, line {wrong}: {names[wrong - 1][:40]!r} is no name of a volume, one a line.")
    return frozenset(key_of(name) for name in names if name)


@dataclass(frozen=True)
class VolumeRow:
    """One volume as the repository and its tables have it; `skip` is why it is in no shard, else `shard` is its number.

    `spacing` is (x, y, z) in mm; `scale` is RescaleSlope and RescaleIntercept, which voxels of `*_fixed` do not need.
    """

    key: str
    file: RemoteFile | None
    spacing: tuple[float, float, float] | None
    scale: tuple[float, float] | None
    labels: tuple[int, ...]
    report: str
    skip: str | None = None
    shard: int | None = None


@dataclass(frozen=True)
class Listing:
    """All volumes of a split in natural order, and what does not fit together, by kind."""

    volumes: tuple[VolumeRow, ...]
    shards: int
    reconciliation: Mapping[str, Sequence[str]] = field(default_factory=dict)
    walked: Mapping[str, Any] = field(default_factory=dict)
    """How many files and rows there were, and those that are no volumes, as `walk.passing` has it."""


def join(
    files: Iterable[RemoteFile],
    metadata: Table,
    labels: Table,
    reports: Table,
    samples_per_shard: int,
    *,
    spacing: bool,
    excluded: Mapping[str, str] | None = None,
) -> Listing:
    """Join the tree with the tables, and cut what can be used into shards of `samples_per_shard`, in natural order.

    What the tables or the tree already rule out (absent, unlisted, contradictory, and without spacing where `spacing`
    is to be read from the tables) is left out before shards are cut, so that it shifts nothing later; so are the keys
    of `excluded`, each with the list that names it.

    Raises BadInput when the label table's columns are not the dataset's classes.
    """
    classes = tuple(column for column in labels.columns if column != "VolumeName")
    if classes != CLASSES:
        wrong = next((a for a, b in zip(classes, CLASSES, strict=False) if a != b), "one too few or too many")
        raise BadInput(f"{labels.name} has {len(classes)} classes ({wrong!r}); expected the {len(CLASSES)}.")
    tables = (metadata, labels, reports)
    present: dict[str, RemoteFile] = {}
    twice, passed, entries = set(), [], list(files)
    for file in entries:
        key = key_of(file.path.rpartition("/")[2]) if file.path.endswith(SUFFIXES) else ""
        if not key:
            passed.append(("no volume", file.path))
        elif key in present:
            twice.add(key)
            passed.append(("another file of that name", file.path))
        else:
            present[key] = file
    listed = [key for table in tables for key in table.rows]
    keys = sorted({*listed, *present}, key=natural_key)
    joined = (_join_one(key, present.get(key), tables, spacing, key in twice) for key in keys)
    named = excluded or {}
    volumes = [replace(v, skip=f"{EXCLUDED}: {named[v.key]} names it") if v.key in named else v for v in joined]
    absent = natural_order(key for key in listed if key not in present)
    found = cut(
        volumes,
        samples_per_shard,
        {
            "listed_but_absent": absent,
            "present_but_unlisted": [k for k in natural_order(present) if any(k not in t.rows for t in tables)],
            "without_spacing": [v.key for v in volumes if v.key in metadata.rows and v.spacing is None],
            "names_of_two_files": natural_order(twice),
            "rows_repeated": natural_order(key for table in tables for key in table.repeated),
            "rows_contradicted": natural_order(key for table in tables for key in table.contradicted),
        },
    )
    return replace(found, walked=passing(len(entries) + len(absent), passed))


def cut(volumes: Iterable[VolumeRow], samples_per_shard: int, reconciliation: Mapping[str, Sequence[str]]) -> Listing:
    """Number the shards of the volumes that can be used, in their order."""
    placed, used = [], 0
    for volume in volumes:
        place = None if volume.skip else used // samples_per_shard
        placed.append(replace(volume, shard=place))
        used += place is not None
    return Listing(tuple(placed), -(-used // samples_per_shard), {**dict.fromkeys(KINDS, ()), **reconciliation})


def _join_one(
    key: str, file: RemoteFile | None, tables: tuple[Table, Table, Table], spacing: bool, twice: bool
) -> VolumeRow:
    metadata, labels, reports = tables
    row = metadata.rows.get(key, {})
    values = [labels.rows.get(key, {}).get(name, "") for name in CLASSES]
    volume = VolumeRow(key, file, _spacing(row), _scale(row), labels_of(values), report_of(reports.rows.get(key, {})))
    unlisted = [table.name for table in tables if key not in table.rows]
    contradicted = [table.name for table in tables if key in table.contradicted]
    if file is None:
        reason = "absent: listed in the tables, no such file in the repository"
    elif twice:
        reason = "two files have this name"
    elif unlisted:
        reason = f"unlisted: no row in {unlisted[0]}"
    elif contradicted:
        reason = f"contradictory rows in {contradicted[0]}"
    elif not volume.labels:
        reason = f"its labels in {labels.name} are not all 0 or 1"
    elif spacing and volume.spacing is None:
        reason = f"no spacing: XYSpacing {row['XYSpacing']!r}, ZSpacing {row['ZSpacing']!r} in {metadata.name}"
    else:
        return volume
    return replace(volume, skip=reason)


def key_of(name: str) -> str:
    """`train_1_a_1` of `train_1_a_1.nii.gz`."""
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.endswith(suffix)), name)


def report_of(row: Mapping[str, str]) -> str:
    """Findings and impressions, without those that were not given."""
    parts = (row.get(name, "").strip() for name in ("Findings_EN", "Impressions_EN"))
    return " ".join(part for part in parts if part and part != NOT_GIVEN)


def natural_order(keys: Iterable[str]) -> list[str]:
    """The distinct keys in natural order."""
    return sorted(set(keys), key=natural_key)


def prevalence(volumes: Iterable[VolumeRow], classes: Sequence[str] = CLASSES) -> dict[str, int]:
    """How many volumes in shards have each class."""
    used = [volume.labels for volume in volumes if volume.shard is not None]
    return {name: sum(labels[i] for labels in used) for i, name in enumerate(classes)}


def why_none(volumes: Iterable[VolumeRow]) -> str:
    """The three commonest reasons for which volumes are left out, each with its number and the first one's words."""
    left_out = [volume for volume in volumes if volume.skip]
    first = {next(iter(skips([volume]))): volume for volume in reversed(left_out)}
    return "; ".join(f"{n} × {first[kind].skip} ({first[kind].key})" for kind, n in skips(left_out).most_common(3))


def skips(volumes: Iterable[VolumeRow]) -> Counter[str]:
    """Number of volumes left out, by the first words of the reason."""
    return Counter(re.split(r"[:(]", volume.skip)[0].strip() for volume in volumes if volume.skip)


def _spacing(row: Mapping[str, str]) -> tuple[float, float, float] | None:
    plane = row.get("XYSpacing", "")
    if re.sub(NUMBER, "", plane).strip("[]() ,;\\'\"\t"):  # words, or whatever else is no list of numbers
        return None
    try:
        x, y = re.findall(NUMBER, plane)
        values = float(x), float(y), float(row["ZSpacing"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return values if all(math.isfinite(v) and v > 0 for v in values) else None


def _scale(row: Mapping[str, str]) -> tuple[float, float] | None:
    try:
        values = float(row["RescaleSlope"]), float(row["RescaleIntercept"])
    except (KeyError, TypeError, ValueError):
        return None
    return values if all(map(math.isfinite, values)) else None


def labels_of(values: Sequence[str]) -> tuple[int, ...]:
    """Labels as numbers; none where one is not 0 or 1."""
    try:
        numbers = tuple(map(float, values))
    except ValueError:
        return ()
    return tuple(map(int, numbers)) if all(v in (0, 1) for v in numbers) else ()

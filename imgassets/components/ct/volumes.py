"""CT-RATE, or a repository of its shape: an index at a pinned commit, WebDataset shards, and a manifest per split."""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field

from imgassets.components.assets import dataset_asset, dataset_definitions
from imgassets.components.automation import Automation
from imgassets.components.ct.axes import against_most, counted
from imgassets.components.ct.card import cards
from imgassets.components.ct.checks import ct_checks
from imgassets.components.ct.estimates import manifest_estimate, shard_estimate
from imgassets.components.ct.folder import FolderSettings, class_names, make_folder_index
from imgassets.components.ct.index import ROW_COLUMNS, IndexSettings, by_shard, make_index, rows_of
from imgassets.components.declarations import NamedScaffolder, check_types
from imgassets.environment import Storage
from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats.ct_shard import KEPT, Members
from imgassets.formats.ct_split import split_manifest
from imgassets.io.artifacts import Artifact, Artifacts, Build, Builds, as_inputs
from imgassets.io.base import BuildConfig
from imgassets.io.ct_rate import ManifestContent, partitions_name, shard_partition, split_and_number
from imgassets.io.sample_rows import ct_rows, volume_rows
from imgassets.sources.ct_folder import CtFolder
from imgassets.sources.ct_rate import CLASSES, EXCLUDED, NO_CHEST, VolumeRow
from imgassets.sources.ct_webdataset import Archives
from imgassets.sources.hub import Folder, Hub, Repository, open_repository, sha256_of
from imgassets.volumes.grid import Preprocessing, Rescale, SpacingSource
from imgassets.volumes.orientation import Orientation
from imgassets.volumes.samples import ShardSource, default_workers

RUN_SIZE = 8
"""Shards in one run of a backfill: a shard of 128 volumes takes minutes, and a run that dies redoes at most one."""


class IndexConfig(BuildConfig):
    """Run configuration of the index; what is left out is as the dataset's YAML says."""

    samples_per_shard: int | None = Field(default=None, ge=1, description="Volumes per shard.")
    revision: str | None = Field(default=None, description="Branch, tag or commit of the repository.")


class ShardsConfig(BuildConfig):
    """Run configuration of the shards."""

    workers: int | None = Field(default=None, ge=1, description="Volumes at a time; default: what memory allows.")


def _text(description: str, *examples: Any) -> Any:
    return dg.Resolver.default(description=description, examples=list(examples) or None)


@dg.scaffold_with(NamedScaffolder)
@dataclass
class CtVolumes(dg.Component, dg.Resolvable):
    """Chest CT volumes with reports and labels, in the layout of CT-RATE on the Hugging Face hub.

    Example:
        >>> # imgassets/defs/ct_small/defs.yaml: another grid, from a local mirror, downloaded by somebody else
        >>> # type: imgassets.components.CtVolumes
        >>> # attributes: {name: ct_small, repository: /data/CT-RATE, shape: [240, 240, 120], spacing: [1.5, 1.5, 3.0]}

        >>> # imgassets/defs/clinic/defs.yaml: NIfTI files in a folder, a table of labels, all the same way up
        >>> # type: imgassets.components.CtVolumes
        >>> # attributes: {name: clinic, source: folder, repository: /data/clinic, table: volumes.csv, orientation: RAS}
    """

    name: Annotated[str, _text("Name of the dataset: the first part of its asset keys.")]
    repository: Annotated[
        str,
        _text(
            "owner/name on the hub ($HF_ENDPOINT; $HF_TOKEN or `hf auth login`), or a folder of that shape; for source "
            "webdataset a pattern such as /data/raw/{split}/*.tar; for source folder the folder, of the project or "
            "below $IMGASSETS_RAW if its path is relative."
        ),
    ]
    source: Annotated[
        Literal["hub", "webdataset", "folder"],
        _text(
            "Layout: `hub`, CT-RATE's; `webdataset`, tars of <key>.nii.gz, .npz or .bin with .txt, .cls or .json; or "
            "`folder`, .nii and .nii.gz at any depth, whose headers say spacing and direction."
        ),
    ] = "hub"
    table: Annotated[
        str | None,
        _text(
            "For source folder, a CSV in it or in the project: column `id`, a path or file name; if there are such, "
            "`split`, `report` and `patient`; every other column is a class of 0 or 1.",
            "volumes.csv",
        ),
    ] = None
    labels: Annotated[list[str] | None, _text("Columns of the table that are classes, if not all others are.")] = None
    split_shares: Annotated[
        dict[str, float] | None,
        _text(
            "Parts of the patients that each split gets, where no column `split` says it; a patient is in one split.",
            {"train": 0.9, "valid": 0.1},
        ),
    ] = None
    revision: Annotated[str, _text("Branch, tag or commit; the index pins the commit it points to.")] = "main"
    splits: Annotated[list[str], _text("Splits there are.")] = field(default_factory=lambda: ["train", "valid"])
    folder: Annotated[str, _text("Folder of a split's volumes; {split} stands for it.")] = "dataset/{split}_fixed"
    exclude_lists: Annotated[
        list[str] | None,
        _text(
            "Lists, beside the tables, of volumes to leave out, {split} for the split; they do not count for "
            f"max_skipped. Default: {NO_CHEST}, where there is one; [] for none."
        ),
    ] = None
    samples_per_shard: Annotated[int, _text("Volumes per shard.")] = 128
    workers: Annotated[int | None, _text("Volumes at a time; default: what memory allows.")] = None
    device: Annotated[Literal["cpu", "cuda"], _text("Where volumes are resampled.")] = "cpu"
    max_skipped: Annotated[int, _text("Volumes of a split that may be left out, however small it is.")] = 20
    max_skipped_share: Annotated[float, _text("Share of a split's volumes that may be left out, if that is more.")] = (
        0.01
    )
    shape: Annotated[tuple[int, int, int], _text("Voxels of the result along x, y, z.", [480, 480, 240])] = (
        480,
        480,
        240,
    )
    spacing: Annotated[tuple[float, float, float], _text("Its spacing along x, y, z, in mm.", [0.75, 0.75, 1.5])] = (
        0.75,
        0.75,
        1.5,
    )
    hu_clip: Annotated[
        tuple[float, float], _text("HU are clipped to this range before resampling.", [-1000.0, 1000.0])
    ] = (
        -1000.0,
        1000.0,
    )
    divisor: Annotated[float, _text("HU are divided by this.")] = 1000.0
    pad_value: Annotated[float, _text("Value around a volume that is smaller than the grid.")] = -1.0
    rescale: Annotated[
        Rescale,
        _text(
            "What makes stored voxels HU: `header`, the file's own scaling, right for the *_fixed folders; or `csv`, "
            "which applies the table's slope and intercept on top, for files of raw detector values."
        ),
    ] = "header"
    spacing_source: Annotated[SpacingSource, _text("Whose spacing counts: `csv` (the table's) or `header`.")] = "csv"
    orientation: Annotated[
        Orientation,
        _text(
            "Which way up results lie: `as_stored`, or `RAS`, where x, y and z grow to the patient's right, front and "
            "up, by flips and exchanges of axes alone; each .json then has the affine from the result to the patient."
        ),
    ] = "as_stored"
    members: Annotated[
        Members,
        _text(
            "What a shard's members are: `guide`, .bin .cls .json .txt; `npy`, .volume.npy .labels.npy .json "
            ".report.txt, which default decoders read; or `ctclip`, as `guide` with .labels for .cls."
        ),
    ] = "guide"
    automation: Automation = "manual"

    def __post_init__(self) -> None:
        check_types(self)
        for name, wrong, expected in (
            ("splits", not self.splits, "at least one"),
            ("samples_per_shard", self.samples_per_shard < 1, "1 or more ($IMGASSETS_CT_SAMPLES_PER_SHARD)"),
            ("workers", self.workers is not None and self.workers < 1, "1 or more"),
            ("shape", min(self.shape) < 1, "1 or more voxels along each axis"),
            ("spacing", not all(0 < mm < math.inf for mm in self.spacing), "mm above 0"),
            ("hu_clip", not -math.inf < self.hu_clip[0] < self.hu_clip[1] < math.inf, "[lowest, highest]"),
            ("divisor", not 0 < self.divisor < math.inf, "a number above 0"),
            *(
                (name, self.source != "folder" and getattr(self, name) is not None, "nothing but for source: folder")
                for name in ("table", "labels", "split_shares")
            ),
            (
                "split_shares",
                self.split_shares is not None
                and (
                    set(self.split_shares) != set(self.splits)
                    or not all(0 < share < math.inf for share in self.split_shares.values())
                ),
                "a part above 0 for each split",
            ),
        ):
            if wrong:
                raise BadInput(f"{name} is {getattr(self, name)}: expected {expected}.")

    @property
    def recipe(self) -> Preprocessing:
        """The preprocessing."""
        source: SpacingSource = self.spacing_source if self.source == "hub" else "header"
        return Preprocessing(
            self.shape, self.spacing, self.hu_clip, self.divisor, self.pad_value, self.rescale, source, self.orientation
        )

    @property
    def placed(self) -> bool:
        """Whether samples say where they lie in the patient: CT-RATE's own, as they are stored, never did."""
        return self.orientation != "as_stored" or self.source == "folder"

    def open_repository(self, storage: Storage, split: str, revision: str | None = None) -> Repository:
        """The hub, or local files with what is remembered of their checksums."""
        vault = storage.vault
        memory = vault.memory("sha256", sha256_of)
        place = os.path.expanduser(self.repository)
        if self.source == "folder":
            return self.open_folder(storage)
        beside = Path(storage.project, place.replace("{split}", split))
        if beside.exists():  # as with other folders, a relative path counts from the project
            place = str(Path(storage.project, place))
        if self.source == "webdataset":
            return Archives(place.replace("{split}", split), memory.of)
        repository = open_repository(place)
        if isinstance(repository, Folder):
            return Folder(repository.root, memory.of)
        assert isinstance(repository, Hub)
        asked = replace(repository, revision=revision or self.revision)
        return asked.impatient() if vault.looking else asked

    def open_folder(self, storage: Storage) -> CtFolder:
        """The folder of the volumes, and the table where one is named.

        Raises BadInput where one of them is not there.
        """
        root, memory = Path(os.path.expanduser(self.repository)), storage.vault.memory("sha256", sha256_of)
        root = next(
            (place for base in (storage.project, storage.raw_root) if (place := Path(base, root)).is_dir()), root
        )
        if not root.is_dir():
            raise BadInput(f"repository {self.repository!r} is no folder of the project, or below IMGASSETS_RAW.")
        table = None
        if self.table is not None:
            name = os.path.expanduser(self.table)
            table = next((found for base in (root, storage.project) if (found := Path(base, name)).is_file()), None)
            if table is None:
                raise BadInput(f"table {self.table!r} is no file in {root.name}, or of the project.")
        labels = None if self.labels is None else tuple(self.labels)
        return CtFolder(root, memory.of, table, labels, tuple((self.split_shares or {}).items()))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Three assets, their checks, and a job per partitioning; a card where `datasets` reads the shards."""
        index, shards, manifest = _volume_index(self), _shards(self), _manifest(self)
        more = [cards(self.name, self.splits)] if self.members == "npy" and self.source != "folder" else []
        jobs = [
            dg.define_asset_job(f"{self.name}_index", [index], description="Pin a commit and list its volumes."),
            dg.define_asset_job(f"{self.name}_shards", [shards], description="Make shards of the listed volumes."),
            dg.define_asset_job(f"{self.name}_manifest", [manifest], description="Say what the shards hold."),
        ]
        made = dg.Definitions(
            [index, shards, manifest, *more], asset_checks=ct_checks(index, shards, manifest), jobs=jobs
        )
        return dataset_definitions(context, self.name, made, self.automation)


def _volume_index(dataset: CtVolumes) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "volume_index",
        code_version="1",
        declared=dataset,
        partitions_def=dg.StaticPartitionsDefinition(dataset.splits),
        io_manager_key="ct_index_io",
        kinds={"huggingface", "parquet"},
    )
    def volume_index(config: IndexConfig, storage: Storage) -> Builds:
        """What a split holds at a pinned commit, a row per volume: path, size, sha256, spacing, labels, report, shard.

        Volumes that the tree or the tables rule out (absent, unlisted, without spacing) are left out with their reason
        before shards are cut, so that no shard's membership ever changes later. Registers one partition per shard.
        """
        size = dataset.samples_per_shard if config.samples_per_shard is None else config.samples_per_shard

        def build(split: str) -> Build:
            repository = dataset.open_repository(storage, split, config.revision)
            revision = repository.pin()
            if isinstance(repository, CtFolder):
                return _folder_build(dataset, repository, revision, split, size)
            by_table = dataset.recipe.spacing_source == "csv"
            folder = dataset.folder.replace("{split}", split)
            lists = dataset.exclude_lists
            chosen = None if lists is None else tuple(path.replace("{split}", split) for path in lists)
            settings = IndexSettings(split, folder, size, by_table, dataset.recipe.nbytes, chosen)
            work = storage.vault.state / "downloads" / f"{dataset.name}-{split}"
            return Build(
                lambda: make_index(repository, revision, settings, work),
                inputs={repository.name: revision},
                config=asdict(settings),
                defaults={
                    "folder": CtVolumes.folder.replace("{split}", split),
                    "samples_per_shard": CtVolumes.samples_per_shard,
                    "spacing": True,
                    "sample_bytes": Preprocessing().nbytes,
                    "exclude_lists": None,
                },
            )

        return Builds(build, force=config.force, rows=lambda index: volume_rows(index, dataset.name))

    return volume_index


def _folder_build(dataset: CtVolumes, folder: CtFolder, revision: str, split: str, size: int) -> Build:
    settings = FolderSettings(
        split, tuple(dataset.splits), size, dataset.recipe.nbytes, folder.labels, tuple(folder.shares)
    )
    return Build(
        lambda: make_folder_index(folder, revision, settings),
        inputs={folder.name: revision},
        config=json.loads(json.dumps(asdict(settings))),
        defaults={"samples_per_shard": CtVolumes.samples_per_shard, "labels": None, "shares": []},
    )


def _shards(dataset: CtVolumes) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "shards",
        code_version="1",
        partitions_def=dg.DynamicPartitionsDefinition(name=partitions_name(dataset.name)),
        io_manager_key="ct_shard_io",
        kinds={"pytorch", "webdataset"},
        backfill_policy=dg.BackfillPolicy.multi_run(RUN_SIZE),
        ins={"volume_index": dg.AssetIn(partition_mapping=dg.AllPartitionMapping())},
    )
    def shards(config: ShardsConfig, storage: Storage, volume_index: Artifacts) -> Builds:
        """Volumes on one grid as a WebDataset shard: `.bin` float16 (480, 480, 240), HU/1000, `.txt`, `.cls`, `.json`.

        Each volume is fetched and verified, brought to HU by its file's own scaling, clipped to ±1000, resampled to
        0.75 × 0.75 × 1.5 mm, divided by 1000 and cropped or padded with −1 around its centre. Volumes that turn out to
        be blank, damaged or no HU are left out with their reason; they shift nothing.
        """

        rows_of_split = cache(lambda split: by_shard(_rows(volume_index[split])))

        def build(partition: str) -> Build:
            split, number = split_and_number(partition)
            if split not in volume_index:
                raise BadInput(f"{partition} is of no split of this dataset: {', '.join(volume_index)}.")
            index = volume_index[split]
            rows = rows_of_split(split).get(number)
            if not rows:
                raise BadInput(f"{partition} is no shard of {index.asset}/{split}: it has {_fact(index, 'shards')}.")
            largest = max(row.file.size for row in rows if row.file)
            workers = config.workers or dataset.workers or default_workers(largest, dataset.recipe.nbytes)
            repository = dataset.open_repository(storage, split)
            source = ShardSource(
                rows,
                repository,
                str(_fact(index, "revision")),
                dataset.recipe,
                workers,
                dataset.device,
                dataset.members,
                dataset.placed,
            )
            estimate = partial(shard_estimate, rows, dataset.recipe, workers)
            return Build(lambda: source, **shard_recipe(dataset, rows), estimate=estimate, kept=KEPT)

        return Builds(build, force=config.force, rows=lambda shard: ct_rows(shard, dataset.name, volume_index))

    return shards


def _manifest(dataset: CtVolumes) -> dg.AssetsDefinition:
    everything = dg.AssetIn(partition_mapping=dg.AllPartitionMapping())

    @dataset_asset(
        dataset.name,
        "manifest",
        code_version="1",
        partitions_def=dg.StaticPartitionsDefinition(dataset.splits),
        io_manager_key="ct_manifest_io",
        kinds={"json", "webdataset"},
        ins={"shards": everything},
    )
    def manifest(config: BuildConfig, volume_index: Artifacts, shards: Artifacts) -> Builds:
        """`manifest.json` of a split: shards, samples, classes, commit, preprocessing, and what was left out and why.

        Fails where a shard is missing or was made with other settings, or more volumes were left out than allowed.
        """

        def build(split: str) -> Build:
            index = volume_index[split]
            keys = [shard_partition(split, number) for number in range(int(_fact(index, "shards")))]
            if missing := [key for key in keys if key not in shards]:
                raise MissingUpstream(f"{missing[0]} is no partition yet: materialize {index.asset}/{split} again.")
            parts = [shards[key] for key in keys]
            limits = {"max_skipped": dataset.max_skipped, "max_skipped_share": dataset.max_skipped_share}
            return Build(
                lambda: _manifest_content(dataset, split, index, parts),
                inputs=index.read(ROW_COLUMNS, _manifest_facts(dataset)) | as_inputs(parts),
                config=limits | shard_config(dataset.device, dataset.recipe, dataset.members),
                defaults={name: getattr(CtVolumes, name) for name in limits} | SHARD_DEFAULTS,
                estimate=partial(manifest_estimate, int(_fact(index, "volumes_in_shards")), len(keys)),
                kept=("ct_manifest/1",),
            )

        return Builds(build, force=config.force)

    return manifest


def _manifest_facts(dataset: CtVolumes) -> tuple[str, ...]:
    return ("revision", "samples_per_shard", *(("class_names",) if dataset.source == "folder" else ()))


def shard_recipe(dataset: CtVolumes, rows: Sequence[VolumeRow]) -> dict[str, Any]:
    """What decides a shard's bytes: its volumes' checksums, what the tables say of them, and every constant."""
    said = [(row.key, row.spacing, row.scale, row.labels, row.report) for row in rows]
    digest = hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()
    files = {row.file.path: row.file.sha256 or row.file.git_sha1 or "" for row in rows if row.file}
    return {
        "inputs": {**files, "tables": digest},
        "config": shard_config(dataset.device, dataset.recipe, dataset.members),
        "defaults": SHARD_DEFAULTS,
    }


def shard_config(device: str, recipe: Preprocessing, members: Members) -> dict[str, Any]:
    """Every setting that changes a shard's bytes."""
    return {"shape": list(recipe.shape), "device": device, "members": members, **recipe.describe()}


SHARD_DEFAULTS = {
    name: value
    for name, value in shard_config(CtVolumes.device, Preprocessing(), CtVolumes.members).items()
    if name not in {"order", "axes", "interpolation"}  # no settings
}


def _manifest_content(dataset: CtVolumes, split: str, index: Artifact, parts: list[Artifact]) -> ManifestContent:
    rows = _rows(index)
    shards = by_shard(rows)
    for number, part in enumerate(parts):
        found = part.manifest.recipe
        expected = Build(tuple, **shard_recipe(dataset, shards[number]))
        if not expected.recipe(found.artifact, found.partition, found.format, found.code_version).makes(found):
            raise StoreError(
                f"{part.asset}/{part.partition} was made with other settings or from another commit than "
                f"{index.asset}/{split} now has: materialize it again."
            )
    skipped = [dict(entry) for source in (index, *parts) for entry in source.manifest.exceptions]
    noted = [dict(entry) for part in parts for entry in part.manifest.facts["noted"]]
    axes = {key: codes for part in parts for key, codes in part.manifest.facts.get("axes", {}).items()}
    noted += against_most(axes) if dataset.orientation == "as_stored" else []
    _judge_skips(dataset, split, skipped, len(rows))
    left_out = {entry["key"] for entry in skipped}
    used = [row for row in rows if row.key not in left_out]
    classes = class_names(index.manifest.facts, CLASSES)
    document = split_manifest(
        split,
        [part.open() for part in parts],
        skipped=skipped,
        noted=noted,
        class_names=classes,
        shape=dataset.shape,
        samples_per_shard=int(_fact(index, "samples_per_shard")),
        preprocessing=dataset.recipe.describe(),
        revision=str(_fact(index, "revision")),
        **({"dataset": dataset.name} if dataset.source == "folder" else {}),
    )
    if dataset.placed:
        document["source_axes"] = counted(axes)
    counts = {name: sum(row.labels[i] for row in used) for i, name in enumerate(classes)}
    return ManifestContent(document, counts, counted(axes))


def _judge_skips(dataset: CtVolumes, split: str, skipped: list[dict[str, Any]], volumes: int) -> None:
    limit = max(dataset.max_skipped, int(dataset.max_skipped_share * volumes))
    skipped = [entry for entry in skipped if not str(entry["reason"]).startswith(f"{EXCLUDED}:")]
    if len(skipped) > limit:
        common = Counter(str(entry["reason"]).split(":")[0] for entry in skipped).most_common(3)
        reasons = ", ".join(f"{count} × {reason}" for reason, count in common)
        raise BadInput(
            f"{len(skipped)} of {volumes} volumes of {split} were left out ({reasons}); {limit} are allowed: look at "
            "them, or raise max_skipped or max_skipped_share."
        )


def _rows(index: Artifact) -> list[VolumeRow]:
    return rows_of(index.open().table())


def _fact(index: Artifact, name: str) -> Any:
    return index.manifest.facts[name]

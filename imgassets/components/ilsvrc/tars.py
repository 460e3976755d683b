"""ILSVRC2012 from its two tar archives, where they lie: an index of every image, and TFRecord shards."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from imgassets.classes import imagenet_classes
from imgassets.columns import numbers
from imgassets.components.assets import RUN_SIZE, dataset_asset, dataset_definitions
from imgassets.components.automation import Automation
from imgassets.components.declarations import SEEDS, NamedScaffolder, check_root, check_seed, check_types
from imgassets.components.ilsvrc.checks import ilsvrc_checks
from imgassets.components.ilsvrc.stores import ilsvrc_stores
from imgassets.components.ilsvrc.tfds import tfds
from imgassets.components.store_assets import Settings, StoreFormats, StoreSettings
from imgassets.environment import Storage
from imgassets.errors import BadInput, Unforeseen
from imgassets.formats.imagenet_records import RECORD_COLUMNS, record_bytes
from imgassets.formats.index import Index, IndexReader
from imgassets.granted import granted_cpus
from imgassets.io.artifacts import Artifact, Artifacts, Build, Builds, Estimate
from imgassets.io.base import BuildConfig
from imgassets.io.sample_rows import index_rows, record_rows
from imgassets.io.samples import Rows
from imgassets.places import Place, slice_of
from imgassets.progress import Progress
from imgassets.sources import sharding
from imgassets.sources.ilsvrc_index import Ilsvrc, IlsvrcIndex
from imgassets.sources.tar_index import SHARD_COLUMNS, TarImages
from imgassets.sources.walk import passing
from imgassets.stores.registry import DEFAULT

DEFAULT_SHARDS = "1024,128"
SHARDS_VARIABLE = "IMGASSETS_TFRECORD_SHARDS"
IMAGE_BYTES = 115_400
"""Of the training archive for each of its images: 147,897,477,120 bytes hold 1,281,167."""
INDEX_BYTES = (9_000, 44)
"""Of an index: schema and report; and of each row (measured on 200,000)."""
WORKING_SET, INDEX_MEMORY = 400 * 2**20, 900 * 2**20
"""Bytes of memory: the rows of a split and one image; the rows while they are gathered."""


class ShardConfig(BuildConfig):
    """Run configuration of `tfrecords`; what is left out is as the dataset's YAML says."""

    seed: int | None = Field(default=None, ge=0, lt=SEEDS, description="Seed of the order of the training images.")


@dg.scaffold_with(NamedScaffolder)
@dataclass
class IlsvrcTars(dg.Component, dg.Resolvable):
    """ILSVRC2012 as it is downloaded: `ILSVRC2012_img_train.tar`, `ILSVRC2012_img_val.tar` and the validation labels.

    Example:
        >>> # imgassets/defs/ilsvrc2012/defs.yaml
        >>> # type: imgassets.components.IlsvrcTars
        >>> # attributes: {name: ilsvrc2012, splits: [validation], shards: {validation: 16}}
    """

    name: Annotated[str, dg.Resolver.default(description="Name of the dataset: the first part of its asset keys.")]
    root: Annotated[
        str | None, dg.Resolver.default(description="Folder of the archives below $IMGASSETS_RAW; default: the name.")
    ] = None
    splits: Annotated[
        list[Literal["train", "validation"]], dg.Resolver.default(description="The splits whose archives there are.")
    ] = field(default_factory=lambda: ["train", "validation"])
    shards: Annotated[
        dict[str, int] | None,
        dg.Resolver.default(
            description=f"Number of shards by split; default: ${SHARDS_VARIABLE} (train,validation), "
            f"else {DEFAULT_SHARDS}."
        ),
    ] = None
    labels: Annotated[
        Literal["full", "present"],
        dg.Resolver.default(
            description="What label 1 + rank counts among: the 1000 synsets (full), or those that occur (present)."
        ),
    ] = "full"
    seed: Annotated[int, dg.Resolver.default(description="Seed of the order of the training images.")] = 0
    spread: Annotated[
        Literal["chunks", "even"],
        dg.Resolver.default(
            description="chunks: ceil(n/shards) images a shard, as the reference; even: shards of equal size."
        ),
    ] = "chunks"
    stores: StoreFormats = field(default_factory=lambda: list(DEFAULT))
    store_settings: Settings = field(default_factory=lambda: StoreSettings(on_error="skip"))
    size: Annotated[
        tuple[int, int] | None,
        dg.Resolver.default(
            description="[height, width] of images in stores; without it they keep their original bytes.",
            examples=[[224, 224]],
        ),
    ] = None
    verify_md5: Annotated[
        bool, dg.Resolver.default(description="Refuse archives whose MD5 is not the expected one, instead of warning.")
    ] = False
    tfds: Annotated[
        bool,
        dg.Resolver.default(
            description="Make what `tensorflow_datasets` wants beside the shards, to read them as they are."
        ),
    ] = False
    automation: Automation = "manual"

    def __post_init__(self) -> None:
        check_types(self)
        check_root("root", self.root)
        check_seed("seed", self.seed)

    @property
    def shard_counts(self) -> dict[str, int]:
        """Number of shards of each split.

        Raises:
            BadInput: one is missing, or not within 1..99999.
        """
        counts = _default_shards() if self.shards is None else self.shards
        for split in self.splits:
            if not 1 <= counts.get(split, 0) <= 99_999:
                raise BadInput(
                    f"{self.name}: {split} has {counts.get(split)} shards, expected a number from 1 to 99999."
                )
        return {split: counts[split] for split in ("train", "validation") if split in self.splits}

    @property
    def stems(self) -> dict[str, list[str]]:
        """Names of the shards of each split."""
        return {split: sharding.stems(split, count) for split, count in self.shard_counts.items()}

    def source(self, storage: Storage) -> Ilsvrc:
        """The archives."""
        folder = storage.raw_root / (self.root or self.name)
        return Ilsvrc(folder, tuple(self.shard_counts), self.labels, self.verify_md5)

    def synsets(self, tar_index: Artifacts) -> list[str]:
        """Synsets of the labels 1, 2, …"""
        if self.labels == "full":
            return list(imagenet_classes().class_to_idx)
        found: dict[int, str] = {}
        for split in self.shard_counts:
            table = tar_index[split].open().table(["synset", "label"])
            found |= dict(zip(table["label"].to_pylist(), table["synset"].to_pylist(), strict=True))
        return [found[label] for label in sorted(found)]

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The index, the shards and the stores, and their checks."""
        index, records = _tar_index(self), _tfrecords(self)
        more = [tfds(self.name, self.stems, self.synsets)] if self.tfds else []
        checks = ilsvrc_checks(index, records, self.shard_counts, self.spread)
        splits = list(self.shard_counts)
        stores = ilsvrc_stores(index, splits, self.stores, self.store_settings, self.size, self.source)
        merged = dg.Definitions.merge(dg.Definitions([index, records, *more], asset_checks=checks), stores)
        return dataset_definitions(context, self.name, merged, self.automation)


def _default_shards() -> dict[str, int]:
    text = os.environ.get(SHARDS_VARIABLE) or DEFAULT_SHARDS
    try:
        train, validation = (int(part) for part in text.split(","))
    except ValueError:
        raise BadInput(f"{SHARDS_VARIABLE} is {text!r}, expected two numbers such as {DEFAULT_SHARDS}.") from None
    return {"train": train, "validation": validation}


def run_size(counts: dict[str, int]) -> int:
    """Partitions in one run of a backfill: at most `RUN_SIZE`, and such that no run holds shards of two splits."""
    first = next(iter(counts.values()))
    return next(size for size in range(RUN_SIZE, 0, -1) if first % size == 0 or len(counts) == 1)


def _tar_index(dataset: IlsvrcTars) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "tar_index",
        code_version="1",
        partitions_def=dg.StaticPartitionsDefinition(list(dataset.shard_counts)),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        io_manager_key="index_io",
        kinds={"parquet"},
    )
    def tar_index(context: dg.AssetExecutionContext, config: BuildConfig, storage: Storage) -> Builds:
        """Every image of an archive, one row each: synset, class_id, label, name, place in the outer tar, size, width,
        height, colour, MD5.

        The archive is read once, from front to back, and nothing is unpacked; every image is checked to its end. What
        cannot be decoded keeps its row and its place, with the reason under `problem`, and is in no shard.
        """
        source, store = dataset.source(storage), storage.vault

        def scan(split: str) -> IlsvrcIndex:
            progress = Progress(context.log.info, f"reading {split}", source.archive(split).stat().st_size)
            return source.index(split, workers=granted_cpus(), passed=progress)

        def build(split: str) -> Build:
            archive = source.archive(split)
            found: IlsvrcIndex | None = None
            # one pass gives both, the checksum and the index; whoever only asks for the recipe gets no scan
            if not store.looking and store.checksums.known(archive) is None:
                found = scan(split)
                store.checksums.remember(archive, found.checksum)
            inputs = storage.raw_checksums(archive, *source.inputs(split))
            return Build(
                lambda: _as_index(found or scan(split)),
                inputs=inputs,
                config={"labels": source.label_fingerprint(), "verify_md5": dataset.verify_md5},
                defaults={"verify_md5": IlsvrcTars.verify_md5},
                # the pass that computes an unknown checksum gives the index, too
                estimate=lambda: _index_estimate(archive, read=store.checksums.known(archive) is not None),
            )

        def rows(artifact: Artifact) -> Rows:
            archive = source.archive(artifact.partition)
            file = archive.relative_to(storage.raw_root).as_posix()

            def origin(about: Mapping[str, Any]) -> Place:
                return slice_of(archive, file, about["offset"], about["size"], about["name"])

            return index_rows(artifact, f"{dataset.name}/{artifact.partition}", "index", origin)

        return Builds(build, force=config.force, rows=rows)

    return tar_index


def _tfrecords(dataset: IlsvrcTars) -> dg.AssetsDefinition:
    counts, stems = dataset.shard_counts, dataset.stems

    @dataset_asset(
        dataset.name,
        "tfrecords",
        code_version="1",
        declared=dataset,
        partitions_def=dg.StaticPartitionsDefinition([key for keys in stems.values() for key in keys]),
        backfill_policy=dg.BackfillPolicy.multi_run(run_size(counts)),
        io_manager_key="tfrecords_io",
        kinds={"tensorflow"},
        ins={"tar_index": dg.AssetIn(partition_mapping=dg.StaticPartitionMapping(stems))},
    )
    def tfrecords(config: ShardConfig, storage: Storage, tar_index: Artifacts) -> Builds:
        """Shards of `tf.train.Example` records as the ImageNet guides make them, written straight from the archives.

        Gray and RGB JPEGs keep their bytes; CMYK and what is no JPEG becomes an RGB JPEG. `image/class/label` is
        1-based: 1 + the rank of the synset. The training images are shuffled, the validation images sorted.
        """
        seed = dataset.seed if config.seed is None else config.seed
        source = dataset.source(storage)

        @cache
        def index(split: str) -> IndexReader:
            reader: IndexReader = tar_index[split].open()
            return reader

        @cache
        def order(split: str, seed: int | None) -> NDArray[np.int64]:
            return sharding.shuffled(tar_index[split].manifest.facts["rows"], seed)

        @cache
        def sizes(split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            """Bytes of the record and of the image of each row of the index."""
            rows = index(split).table(RECORD_COLUMNS)
            return record_bytes(rows), numbers(rows["size"])

        def members(split: str, made: Mapping[str, Any]) -> NDArray[np.int64]:
            """Rows of the index that belong to the shard of such a recipe, in its order."""
            rows = order(split, made.get("seed"))
            place = sharding.chunk(len(rows), made["shards"], made["shard"], made["spread"])
            return rows[place.start : place.stop]

        def estimate(split: str, made: Mapping[str, Any]) -> Estimate:
            try:
                mine, (records, images) = members(split, made), sizes(split)
            except Unforeseen:  # but for headers and padding, an archive is its images
                share = source.archive(split).stat().st_size // made["shards"]
                return Estimate(share, read=share, memory=WORKING_SET)
            used = mine[records[mine] > 0]
            return Estimate(int(records[used].sum()), len(used), read=int(images[used].sum()), memory=WORKING_SET)

        def build(key: str) -> Build:
            split = key.partition("-")[0]
            made = {"shard": stems[split].index(key), "shards": counts[split], "spread": dataset.spread}
            made |= {"seed": seed} if split == "train" else {}
            return Build(
                lambda: TarImages(source.archive(split), index(split).table(SHARD_COLUMNS).take(members(split, made))),
                inputs=tar_index[split].read([*RECORD_COLUMNS, *SHARD_COLUMNS]),
                config=made,
                defaults={"spread": IlsvrcTars.spread, **({"seed": IlsvrcTars.seed} if split == "train" else {})},
                estimate=lambda: estimate(split, made),
            )

        def rows(artifact: Artifact) -> Rows:
            split, made = artifact.partition.partition("-")[0], artifact.manifest.settings

            def used() -> NDArray[np.int64]:
                mine = members(split, made)
                sound: NDArray[np.bool_] = index(split).table(["problem"])["problem"].take(mine).is_null().to_numpy()
                return mine[sound]

            return record_rows(artifact, f"{dataset.name}/{split}", used)

        return Builds(build, force=config.force, rows=rows)

    return tfrecords


def _index_estimate(archive: Path, *, read: bool) -> Estimate:
    """An index, whose rows are guessed from the archive's size."""
    (fixed, each), size = INDEX_BYTES, archive.stat().st_size
    return Estimate(int(fixed + each * size / IMAGE_BYTES), read=size * read, memory=INDEX_MEMORY)


def _as_index(found: IlsvrcIndex) -> Index:
    report = found.report
    facts = {name: report[name] for name in ("synsets", "kinds")} | {"md5": report["archive"]["md5"]}
    facts |= passing(found.walked, ((stray["reason"], stray["name"]) for stray in report["strays"]))
    exceptions = [*report["damaged"], *report["warnings"], *report["strays"]]
    return Index(found.table, report, facts, exceptions)

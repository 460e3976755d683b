"""The image stores of a dataset, one asset per format, and what is proven of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import dagster as dg
from pydantic import Field

from imgassets.components.assets import dataset_asset
from imgassets.components.checks import Finding, all_accounted_for, artifact_check
from imgassets.components.declarations import check_types
from imgassets.environment import Storage
from imgassets.errors import MissingUpstream, Unforeseen
from imgassets.granted import granted_cpus
from imgassets.io.artifacts import Artifact, Artifacts, Build, Builds, Estimate
from imgassets.io.base import BuildConfig
from imgassets.io.sample_rows import store_rows
from imgassets.io.samples import Rows
from imgassets.io.stores import Stored
from imgassets.places import Place
from imgassets.sources.base import Source
from imgassets.stores import Store
from imgassets.stores.registry import DEFAULT, codec_names, codec_of
from imgassets.stores.storefile import split_of
from imgassets.stores.writing import Layout, StorePlan, estimate

if TYPE_CHECKING:
    StoreFormats = list[str]
else:
    # `dg check yaml` tells what would be right only of a list that stands in no union
    _SCHEMA = {"anyOf": [{}], "type": ["array", "string"], "items": {"enum": list(codec_names())}}
    _ABOUT = dg.Resolver.default(
        description="Image stores to make of each split.", examples=[list(DEFAULT)], json_schema_extra=_SCHEMA
    )
    StoreFormats = Annotated[list[Literal[codec_names()]], _ABOUT]
COMPARED_ROWS = 256
WORKING_SET = 200 * 2**20
"""Bytes of memory: some blocks, whatever the store's size."""


class StoreConfig(BuildConfig):
    """Run configuration of a store."""

    threads: int = Field(
        default=0, description="Threads that read and decode, 0 for one per processor; they do not change the bytes."
    )


@dataclass
class StoreSettings(dg.Resolvable):
    """How a dataset's stores are written."""

    images_per_file: Annotated[
        int | None, dg.Resolver.default(description="Images in a shard; default: as many as make about 1 GiB.")
    ] = None
    parquet_compression: Annotated[
        Literal["none", "zstd", "snappy", "gzip", "lz4", "brotli"],
        dg.Resolver.default(description="Compressed Parquet is smaller and slow at random access."),
    ] = "none"
    layout: Annotated[
        Layout,
        dg.Resolver.default(
            description="For whom: `huggingface` has images of one size as PNG files, which `datasets` shows as "
            "images; `guide` is what the conversion guide's own readers read."
        ),
    ] = "own"
    on_error: Annotated[
        Literal["fail", "skip"],
        dg.Resolver.default(description="What an unusable image does: fail the partition, or be left out and listed."),
    ] = "fail"

    def __post_init__(self) -> None:
        check_types(self)
        self.plan(DEFAULT[0], 1)

    def plan(self, format_: str, threads: int, split: str = "train") -> StorePlan:
        """The plan of one split's store."""
        options = {"compression": self.parquet_compression} if format_ == "parquet" else {}
        return StorePlan(format_, self.images_per_file, self.on_error, options, threads, self.layout, split)

    def config(self, format_: str) -> dict[str, Any]:
        """What of it decides a store's bytes."""
        compression = {"compression": self.parquet_compression} if format_ == "parquet" else {}
        settings = {"images_per_file": self.images_per_file, "layout": self.layout, "on_error": self.on_error}
        return {**settings, **compression}


Settings = Annotated[StoreSettings, dg.Resolver.default(description="How the stores are written.")]


@dataclass(frozen=True)
class Feed:
    """Where the images of one split come from."""

    source: Callable[[], Source]
    inputs: Mapping[str, str]
    config: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    like: Callable[[], Source] | None = None
    """A source of as many samples of the same sizes, where it can be told before `source`; nothing is read from it."""

    guess: int | None = None
    """About how many bytes the samples take, for plans made before either source can be told."""


def store_assets(
    dataset: str,
    splits: Sequence[str],
    formats: Sequence[str],
    settings: StoreSettings,
    feed: Callable[[str, Storage, Artifacts], Feed],
    upstream: dg.AssetIn | None = None,
    origin: Callable[[Storage, str, int], Place] | None = None,
) -> dg.Definitions:
    """The stores of a dataset, their checks and the job that makes them all.

    `feed` says where a split's images come from; `upstream` is the asset it reads. If it is a raw folder instead,
    whose files are walked, `origin` says where in it a sample of a split lies.
    """
    assets = [_store(dataset, splits, f, settings, feed, upstream, origin) for f in formats]
    checks = [
        check
        for asset, f in zip(assets, formats, strict=True)
        for check in _checks(asset, f, formats, origin is not None)
    ]
    if not assets:
        return dg.Definitions()
    job = dg.define_asset_job(f"{dataset}_stores", assets, description=f"Make the image stores of {dataset}.")
    return dg.Definitions(assets, asset_checks=checks, jobs=[job])


def _store(
    dataset: str,
    splits: Sequence[str],
    format_: str,
    settings: StoreSettings,
    feed: Callable[[str, Storage, Artifacts], Feed],
    upstream: dg.AssetIn | None,
    origin: Callable[[Storage, str, int], Place] | None,
) -> dg.AssetsDefinition:
    codec = codec_of(format_)

    def builds(config: StoreConfig, storage: Storage, artifacts: Artifacts) -> Builds:
        def build(split: str) -> Build:
            fed = feed(split, storage, artifacts)
            plan = settings.plan(format_, config.threads or granted_cpus(), split_of(split))

            def estimated() -> Estimate:
                try:
                    like = (fed.like or fed.source)()
                except Unforeseen:
                    if fed.guess is None:
                        raise
                    return Estimate(fed.guess, memory=WORKING_SET)
                return Estimate(estimate(plan.prepared(like), plan), rows=len(like), memory=WORKING_SET)

            return Build(
                lambda: Stored(plan.prepared(fed.source()), plan),
                inputs=fed.inputs,
                config={**fed.config, **settings.config(format_)},
                defaults={**fed.defaults, **StoreSettings().config(format_)},
                estimate=estimated,
                kept=codec.kept,
            )

        def rows(artifact: Artifact) -> Rows:
            split = artifact.partition
            return store_rows(artifact, f"{dataset}/{split}", origin and partial(origin, storage, split))

        return Builds(build, force=config.force, rows=rows)

    decorated = partial(
        dataset_asset,
        dataset,
        f"{format_}_store",
        code_version="1",
        kinds={*codec.kinds, "pytorch"},
        description=f"{codec.description}\n\nRead it with `imgassets.open_store(path)`, a torch map-style dataset.",
        io_manager_key=f"{format_}_io",
        partitions_def=dg.StaticPartitionsDefinition(list(splits)),
    )
    if upstream is None:

        @decorated()
        def from_raw(config: StoreConfig, storage: Storage) -> Builds:
            return builds(config, storage, Artifacts((), _nothing))

        return from_raw

    @decorated(ins={"upstream": upstream})
    def from_artifacts(config: StoreConfig, storage: Storage, upstream: Artifacts) -> Builds:
        return builds(config, storage, upstream)

    return from_artifacts


def _nothing(key: str) -> Artifact:
    raise KeyError(key)


def _checks(
    asset: dg.AssetsDefinition, format_: str, formats: Sequence[str], walked: bool
) -> list[dg.AssetChecksDefinition]:
    def same_in_every_format(artifact: Artifact) -> Finding:
        """Images, labels and names are the same, row by row, as in the dataset's other stores of this split."""
        return _compare(artifact, format_, [other for other in formats if other != format_])

    return [
        artifact_check(asset, "bytes_verified", bytes_verified),
        artifact_check(asset, "same_in_every_format", same_in_every_format),
        *([artifact_check(asset, "all_accounted_for", all_accounted_for)] if walked else []),
    ]


def bytes_verified(artifact: Artifact) -> Finding:
    """Every byte has the checksum that was recorded when it was written."""
    manifest = artifact.vault.verify(artifact.location)
    artifact.open().verify()
    return Finding(True, {"bytes": manifest.total_bytes, "files": len(manifest.files)}, "all checksums agree")


def _compare(artifact: Artifact, format_: str, others: Sequence[str]) -> Finding:
    store: Store = artifact.open()
    compared = []
    vault, (dataset, split) = artifact.vault, (artifact.asset.split("/")[0], artifact.partition)
    for other in others:
        location = vault.location(dataset, f"{other}_store", split, folder=True)
        try:
            vault.manifest(location)
        except MissingUpstream:
            continue
        difference = first_difference(store, Store(location.path))
        if difference:
            return Finding(False, {"rows": len(store)}, f"{format_} and {other} differ: {difference}")
        compared.append(other)
    numbers = {"rows": len(store), "compared_with": ", ".join(compared) or "none"}
    return Finding(True, numbers, f"{len(store)} rows are the same in {', '.join([format_, *compared])}")


def first_difference(a: Store, b: Store) -> str:
    """What tells two stores apart, in words; empty if every row is the same."""
    import numpy as np

    if len(a) != len(b):
        return f"{len(a)} rows and {len(b)}"
    if a.fields != b.fields or a.class_to_idx != b.class_to_idx:
        return (
            f"fields {[f.name for f in a.fields]} and {[f.name for f in b.fields]}, or their classes, are not the same"
        )
    for start in range(0, len(a), COMPARED_ROWS):
        rows = range(start, min(start + COMPARED_ROWS, len(a)))
        for column in a.fields:
            left, right = a.column(column.name, rows), b.column(column.name, rows)
            for row, x, y in zip(rows, left, right, strict=True):
                if not (x == y if column.ragged else np.array_equal(x, y, equal_nan=x.dtype.kind == "f")):
                    return f"{column.name} of row {row} ({a.name(row)}){_where(x, y)}"
    return ""


def _where(x: Any, y: Any) -> str:
    import numpy as np

    if isinstance(x, bytes):
        return f", files of {len(x)} and {len(y)} bytes"
    if x.ndim == 0:
        return f", {x} and {y}"
    at = tuple(int(k) for k in np.argwhere(x != y)[0])
    return f", first at {at}: {x[at]} and {y[at]}"

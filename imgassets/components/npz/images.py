"""Downsampled ImageNet in NPZ batches: an index of what is there, plain arrays, and CSV samples for SystemDS."""

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import dagster as dg
import numpy as np
from pydantic import Field

from imgassets.classes import imagenet_classes
from imgassets.components.assets import dataset_asset, dataset_definitions, fan_in
from imgassets.components.automation import Automation
from imgassets.components.declarations import SEEDS, NamedScaffolder, check_root, check_seed, check_types
from imgassets.components.npz.checks import npz_checks
from imgassets.components.npz.estimates import arrays_estimate, arrays_like, index_estimate, sample_estimate
from imgassets.components.store_assets import Feed, Settings, StoreFormats, StoreSettings, store_assets
from imgassets.environment import Storage
from imgassets.errors import BadInput, MissingUpstream
from imgassets.formats.arrays import ImageRows, LabelledImages
from imgassets.formats.index import Index
from imgassets.formats.systemds import size_text
from imgassets.formats.systemds_csv import most_rows
from imgassets.io.artifacts import Artifact, Artifacts, Build, Builds, as_inputs
from imgassets.io.base import BuildConfig
from imgassets.io.sample_rows import array_rows, csv_rows, index_rows
from imgassets.io.samples import Rows
from imgassets.io.systemds import CsvSample
from imgassets.progress import Progress
from imgassets.sampling import quota_order
from imgassets.sources.arrays import ArraySource
from imgassets.sources.batches import batch_offsets, find_batches
from imgassets.sources.imagenet_npz import RESOLUTIONS, NpzBatch, open_batch
from imgassets.stores.registry import DEFAULT

log = logging.getLogger(__name__)


class SampleConfig(BuildConfig):
    """Run configuration of `csv_sample`; what is left out is as the dataset's YAML says."""

    csv_size_gb: float | None = Field(
        default=None, description="Size of data and labels together, in GiB (2^30 bytes)."
    )
    seed: int | None = Field(default=None, ge=0, lt=SEEDS, description="Seed of the order in which rows are sampled.")
    binary_block: bool | None = Field(default=None, description="Also write SystemDS's own binary-block format.")


@dg.scaffold_with(NamedScaffolder)
@dataclass
class NpzImages(dg.Component, dg.Resolvable):
    """A dataset in the layout of downsampled ImageNet: `train_data_batch_N.npz` and `val_data.npz`.

    Example:
        >>> # imgassets/defs/imagenet32/defs.yaml
        >>> # type: imgassets.components.NpzImages
        >>> # attributes: {name: imagenet32, resolution: 32, train_batches: [1, 2]}
    """

    name: Annotated[str, dg.Resolver.default(description="Name of the dataset: the first part of its asset keys.")]
    root: Annotated[
        str | None, dg.Resolver.default(description="Folder of the NPZ files below $IMGASSETS_RAW; default: the name.")
    ] = None
    train_batches: Annotated[list[int], dg.Resolver.default(description="Numbers of the train batches there are.")] = (
        field(default_factory=lambda: list(range(1, 11)))
    )
    val: Annotated[bool, dg.Resolver.default(description="Whether there is a val_data.npz.")] = True
    resolution: Annotated[int, dg.Resolver.default(description="Height and width: 16, 32, 64, 128 or 256.")] = 64
    csv_size_gb: Annotated[
        float, dg.Resolver.default(description="Size of a CSV sample, data and labels together, in GiB.")
    ] = 2.0
    seed: Annotated[int, dg.Resolver.default(description="Seed of the order in which rows are sampled.")] = 0
    binary_block: Annotated[
        bool, dg.Resolver.default(description="Also write CSV samples in SystemDS's binary-block format.")
    ] = False
    automation: Automation = "manual"
    stores: StoreFormats = field(default_factory=lambda: list(DEFAULT))
    store_settings: Settings = field(default_factory=StoreSettings)
    job_prefix: Annotated[
        str | None,
        dg.Resolver.default(description="Put before the names of the dataset's jobs; default: the name and _."),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what no run could make sense of while the YAML file is loaded, which names its place.

        Raises:
            BadInput: names the attribute.
        """
        check_types(self)
        check_root("root", self.root)
        check_seed("seed", self.seed)
        batches = self.train_batches
        if self.resolution not in RESOLUTIONS:
            raise BadInput(f"resolution is {self.resolution}: expected one of {', '.join(map(str, RESOLUTIONS))}.")
        if len(set(batches)) < len(batches) or any(number < 0 for number in batches):
            raise BadInput(f"train_batches is {batches}: expected the number of each batch once.")
        if not self.splits:
            raise BadInput("train_batches is empty and val is false: expected at least one batch.")
        try:
            size_text(self.csv_size_gb)
        except BadInput as error:
            raise BadInput(f"csv_size_gb: {error}") from None

    @property
    def splits(self) -> dict[str, list[str]]:
        """Batches by split, in the natural order that the global index counts in."""
        train = [f"train_data_batch_{number}" for number in sorted(self.train_batches)]
        return {split: names for split, names in (("train", train), ("val", ["val_data"] * self.val)) if names}

    @property
    def batches(self) -> dg.StaticPartitionsDefinition:
        """One partition for each batch."""
        return dg.StaticPartitionsDefinition([batch for batches in self.splits.values() for batch in batches])

    def split_of(self, batch: str) -> str:
        """The split a batch belongs to."""
        return next(split for split, batches in self.splits.items() if batch in batches)

    def series(self, batch: str) -> str:
        """What numbers a batch's samples."""
        return f"{self.name}/{self.split_of(batch)}"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Three assets, their checks, and one job per stage."""
        index, arrays, sample = _npz_index(self), _arrays(self), _csv_sample(self)
        prefix = f"{self.name}_" if self.job_prefix is None else self.job_prefix
        jobs = [
            dg.define_asset_job(f"{prefix}{mode}", [asset], description=description)
            for mode, asset, description in (
                ("inspect", index, "Read every batch once and report what is in it."),
                ("binary", arrays, "Make plain arrays of the indexed batches."),
                ("csv_only", sample, "Make CSV samples of the arrays."),
            )
        ]
        own = dg.Definitions([index, arrays, sample], asset_checks=npz_checks(index, arrays, sample), jobs=jobs)
        made = dg.Definitions.merge(own, _stores(self, arrays))
        return dataset_definitions(context, self.name, made, self.automation)


def _npz_index(dataset: NpzImages) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "npz_index",
        code_version="1",
        partitions_def=dataset.batches,
        io_manager_key="index_io",
        kinds={"numpy", "parquet"},
    )
    def npz_index(context: dg.AssetExecutionContext, config: BuildConfig, storage: Storage) -> Builds:
        """What the NPZ batches hold, one row per image: global index, file, row, devkit label, class_id, synset.

        Every byte is read once and its CRC verified. The report beside the table has the members, images per class,
        pixel statistics, how far the declared mean is from the batch's own, and a warning where rows look like H, W, C.
        """

        def build(key: str) -> Build:
            batch, first = _open(dataset, storage, key)
            progress = Progress(context.log.info, f"reading {key}")
            return Build(
                lambda: _index(dataset, batch, first, progress),
                inputs=storage.raw_checksums(batch.path),
                config={"resolution": dataset.resolution, "first_row": first},
                defaults={"resolution": NpzImages.resolution},
                estimate=lambda: index_estimate(batch),
            )

        def rows(artifact: Artifact) -> Rows:
            batch, _ = _open(dataset, storage, artifact.partition)
            file = batch.path.relative_to(storage.raw_root).as_posix()
            return index_rows(
                artifact,
                dataset.series(artifact.partition),
                "global_index",
                lambda about: batch.place(about["row"], file),
            )

        return Builds(build, force=config.force, rows=rows)

    return npz_index


def _arrays(dataset: NpzImages) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "arrays",
        code_version="1",
        partitions_def=dataset.batches,
        io_manager_key="arrays_io",
        kinds={"numpy"},
    )
    def arrays(config: BuildConfig, storage: Storage, npz_index: Artifacts) -> Builds:
        """A batch as NumPy arrays that any program maps without reading: `images.npy`, uint8 (N, 3, H, W), and
        `labels.npy`, int64 (N,), class_ids 0..999 (the rank of the synset, as torchvision and timm count).
        """

        def build(key: str) -> Build:
            batch, _ = _open(dataset, storage, key)
            raw = storage.raw_checksums(batch.path)
            npz_index[key].expect_made_from(raw)
            return Build(
                lambda: _labelled_images(batch),
                inputs=raw | npz_index[key].read(["class_id"]),
                estimate=lambda: arrays_estimate(batch),
            )

        def rows(artifact: Artifact) -> Rows:
            return array_rows(
                artifact, dataset.series(artifact.partition), _open(dataset, storage, artifact.partition)[1]
            )

        return Builds(build, force=config.force, rows=rows)

    return arrays


def _csv_sample(dataset: NpzImages) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "csv_sample",
        code_version="1",
        declared=dataset,
        partitions_def=dg.StaticPartitionsDefinition(list(dataset.splits)),
        io_manager_key="systemds_io",
        kinds={"csv"},
        ins={"arrays": dg.AssetIn(partition_mapping=fan_in(dataset.splits))},
    )
    def csv_sample(config: SampleConfig, arrays: Artifacts) -> Builds:
        """A stratified sample of a split as CSV matrices for Apache SystemDS, with `.mtd` metadata.

        Data: one image per row, 3·H·W cells of float32(v)/255 in [0, 1], planar RGB. Labels: one-hot over 1000
        columns in ILSVRC devkit order (column = devkit label − 1). Both files together fill `csv_size_gb` to within
        one row; a smaller sample of the same seed is a prefix of a larger one.
        """
        gib = dataset.csv_size_gb if config.csv_size_gb is None else config.csv_size_gb
        seed = dataset.seed if config.seed is None else config.seed
        binary = dataset.binary_block if config.binary_block is None else config.binary_block

        def build(split: str) -> Build:
            size_text(gib)
            parts = [arrays[batch] for batch in dataset.splits[split]]
            return Build(
                lambda: _csv_content(parts, split, gib, seed, binary),
                inputs=_inputs(parts),
                config={"csv_size_gb": float(gib), "seed": seed, "binary_block": binary},
                defaults={name: getattr(NpzImages, name) for name in ("csv_size_gb", "seed", "binary_block")},
                estimate=lambda: sample_estimate(parts, 3 * dataset.resolution**2, gib, binary),
            )

        def rows(artifact: Artifact) -> Rows:
            return csv_rows(artifact, f"{dataset.name}/{artifact.partition}")

        return Builds(build, force=config.force, rows=rows)

    return csv_sample


def _stores(dataset: NpzImages, arrays: dg.AssetsDefinition) -> dg.Definitions:
    def feed(split: str, storage: Storage, artifacts: Artifacts) -> Feed:
        parts = [artifacts[batch] for batch in dataset.splits[split]]
        return Feed(lambda: _array_source(parts), _inputs(parts), like=lambda: arrays_like(parts, dataset.resolution))

    upstream = dg.AssetIn(arrays.key, partition_mapping=fan_in(dataset.splits))
    return store_assets(dataset.name, list(dataset.splits), dataset.stores, dataset.store_settings, feed, upstream)


def _array_source(parts: list[Artifact]) -> ArraySource:
    classes = imagenet_classes().class_to_idx
    readers = [part.open() for part in parts]
    return ArraySource(
        [(reader.images, reader.labels) for reader in readers],
        class_to_idx=classes,
        names=[part.partition for part in parts],
    )


def _open(dataset: NpzImages, storage: Storage, batch: str) -> tuple[NpzBatch, int]:
    """A batch, checked as far as headers tell, and the global index of its first row."""
    folder = storage.raw_root / (dataset.root or dataset.name)
    siblings = dataset.splits[dataset.split_of(batch)]
    first = batch_offsets(folder, siblings, resolution=dataset.resolution, last=batch)[batch]
    return open_batch(find_batches(folder, [batch])[batch], resolution=dataset.resolution), first


def _index(dataset: NpzImages, batch: NpzBatch, first: int, progress: Progress) -> Index:
    import pyarrow as pa

    progress.total = batch.rows * batch.row_bytes
    inspection = batch.inspect(progress=progress)
    labels = batch.labels()
    classes = imagenet_classes()
    class_ids = classes.from_devkit(labels)
    synsets = pa.DictionaryArray.from_arrays(class_ids.astype(np.int16), pa.array(classes.synsets))
    table = pa.table(
        {
            "global_index": np.arange(first, first + batch.rows),
            "file": pa.DictionaryArray.from_arrays(np.zeros(batch.rows, np.int8), [batch.path.name]),
            "row": np.arange(batch.rows),
            "devkit_label": labels.astype(np.int16),
            "class_id": class_ids.astype(np.int16),
            "synset": synsets,
        }
    )
    report = inspection.report()
    facts = {"classes_present": report["labels"]["classes_present"], "mean_difference": report["mean_difference"]}
    if inspection.warning:
        log.warning("%s: %s", batch.path, inspection.warning)
        facts["warning"] = inspection.warning
    return Index(table, report | {"first_row": first}, facts)


def _labelled_images(batch: NpzBatch) -> LabelledImages:
    labels = imagenet_classes().from_devkit(batch.labels())
    return LabelledImages(batch.blocks(), labels, (3, batch.resolution, batch.resolution))


def _inputs(parts: list[Artifact]) -> dict[str, str]:
    try:
        return as_inputs(parts)
    except MissingUpstream as error:
        raise MissingUpstream(f"Combined binary files not found: {error}") from error


def _csv_content(parts: list[Artifact], split: str, gib: float, seed: int, binary_block: bool) -> CsvSample:
    readers = [part.open() for part in parts]
    class_ids = np.concatenate([reader.labels for reader in readers])
    columns = imagenet_classes().devkit_ids[class_ids] - 1
    width = int(np.prod(readers[0].images.shape[1:]))
    order = quota_order(columns, seed, stop=max(1, most_rows(gib, width)))
    notes = {"seed": seed, "rows_per_class": np.bincount(columns, minlength=1000).tolist()}
    return CsvSample(partial(ImageRows, readers), order, columns, split, gib, binary_block, notes)

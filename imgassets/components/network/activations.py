"""Activations, reconstructions and samples of the EDM/DMD2 ImageNet-64 network, and how real and generated compare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Annotated, Literal

import dagster as dg

from imgassets.components.assets import dataset_asset, dataset_definitions, fan_in
from imgassets.components.automation import Automation
from imgassets.components.declarations import NamedScaffolder, check_seed, check_types
from imgassets.components.folder.images import ImageFolder
from imgassets.components.network.checks import activation_checks
from imgassets.components.network.config import (
    ActivationConfig,
    NetworkConfigOverrides,
    ReconstructionConfig,
    Score,
    ScoreColumn,
    class_id,
)
from imgassets.components.network.embedding import POINTS, EmbeddingRun
from imgassets.components.network.folders import FolderInput
from imgassets.components.network.inputs import Input, NpzInput
from imgassets.components.network.run import GeneratedRun, InputRun, NetworkRun
from imgassets.components.npz.images import NpzImages
from imgassets.environment import Device, Storage
from imgassets.errors import BadInput
from imgassets.io import dagster_private
from imgassets.io.activations import RECONSTRUCTED
from imgassets.io.artifacts import Artifact, Artifacts, Builds
from imgassets.io.base import BuildConfig
from imgassets.io.sample_rows import activation_rows, png_rows, point_rows
from imgassets.io.samples import Rows
from imgassets.models.config import NetworkConfig
from imgassets.models.embedding import UmapSettings
from imgassets.models.resize import find_resize
from imgassets.models.selection import Selection
from imgassets.models.settings import Extraction

POOL = "gpu"
Describe = dg.Resolver.default


@dg.scaffold_with(NamedScaffolder)
@dataclass
class Activations(dg.Component, dg.Resolvable):
    """The network over one data set: `npz` names an NPZ dataset's folder in `defs/`, `folder` an image-folder one's.

    Example:
        >>> # imgassets/defs/dmd2_val/defs.yaml
        >>> # type: imgassets.components.Activations
        >>> # attributes: {name: dmd2_val, npz: imagenet64, layers: [midblock], num_samples: 5000}
    """

    name: Annotated[str, Describe(description="First part of the asset keys.")]
    npz: Annotated[str | None, Describe(description="Folder in defs/ of the NPZ dataset that is read.")] = None
    folder: Annotated[str | None, Describe(description="Folder in defs/ of the image-folder dataset that is read.")] = (
        None
    )
    checkpoint: Annotated[
        str,
        Describe(description="Weights below $IMGASSETS_RAW: a file, a folder (of accelerate, of parts), or a glob."),
    ] = "dmd2/checkpoint.[pbs]*"
    weights: Annotated[
        str, Describe(description="Which weights of a checkpoint with several that fit, by the name around them: ema.")
    ] = ""
    network: Annotated[
        str, Describe(description="JSON of the network's shape below $IMGASSETS_RAW; absent: the published one.")
    ] = "dmd2/network.json"
    layers: Annotated[list[str], Describe(description="Layers by the DMD2 visualizer's names.")] = field(
        default_factory=lambda: ["encoder_bottleneck", "midblock"]
    )
    conditioning_sigma: Annotated[float, Describe(description="Noise level the network is told, > 0.")] = 80.0
    input_mode: Annotated[
        Literal["dmd2", "noised", "clean"], Describe(description="x·sigma, x + sigma·noise, or x itself.")
    ] = "dmd2"
    class_conditioning: Annotated[bool, Describe(description="Whether the network is told the class.")] = True
    batch_size: Annotated[int, Describe(description="Samples per file and per forward pass.")] = 64
    seed: Annotated[int, Describe(description="Seed of selection and noise.")] = 10
    dtype: Annotated[
        Literal["float32", "tf32", "bf16"] | None, Describe(description="Precision; default: the device resource's.")
    ] = None
    storage: Annotated[Literal["full", "pooled"], Describe(description="All values, or their mean over pixels.")] = (
        "full"
    )
    storage_dtype: Annotated[Literal["float32", "float16"], Describe(description="Precision on disk.")] = "float32"
    compressed: Annotated[bool, Describe(description="Deflate the NPZ files: slow, saves 7 %.")] = False
    num_samples: Annotated[int | None, Describe(description="Samples of the whole split; default: every row.")] = None
    classes: Annotated[list[str], Describe(description="Only these classes: class_ids or synsets.")] = field(
        default_factory=list
    )
    balanced: Annotated[bool, Describe(description="As many samples of each class as of any other.")] = False
    score: Annotated[ScoreColumn | None, Describe(description="What `percentile` is of.")] = None
    percentile: Annotated[list[float], Describe(description="Lower and upper percentile of the score.")] = field(
        default_factory=lambda: [0.0, 100.0]
    )
    resize: Annotated[
        str,
        Describe(
            description="Of folder images: lanczos_stretch, box_center_crop, or your own package.module:function."
        ),
    ] = "lanczos_stretch"
    enlarge: Annotated[
        str | None, Describe(description="Filter that enlarges NPZ images of 16 or 32 pixels, e.g. lanczos.")
    ] = None
    single_files: Annotated[bool, Describe(description="Reconstructions as PNG files instead of tars.")] = False
    generated_chunks: Annotated[int, Describe(description="Partitions of generated samples.")] = 4
    generated_per_chunk: Annotated[int, Describe(description="Samples in each of them.")] = 256
    embedding_points: Annotated[int, Describe(description="Most real, and most generated, points of a plot.")] = POINTS
    umap_neighbors: Annotated[int, Describe(description="UMAP's n_neighbors.")] = 15
    umap_min_dist: Annotated[float, Describe(description="UMAP's min_dist.")] = 0.1
    umap_seed: Annotated[int, Describe(description="UMAP's random_state.")] = 42
    automation: Automation = "manual"

    def __post_init__(self) -> None:
        check_types(self)
        check_seed("seed", self.seed)
        check_seed("umap_seed", self.umap_seed)

    @property
    def extraction(self) -> Extraction:
        """What is asked of the network."""
        return Extraction(
            tuple(self.layers),
            self.conditioning_sigma,
            self.input_mode,
            self.batch_size,
            self.seed,
            self.class_conditioning,
            self.storage,
            self.storage_dtype,
            self.compressed,
        )

    @property
    def class_ids(self) -> tuple[int, ...]:
        """`classes` as class_ids; `BadInput` names one that is none."""
        return tuple(sorted(map(class_id, self.classes)))

    @property
    def selection(self) -> Selection:
        """Which samples are taken."""
        if len(self.percentile) != 2:
            raise BadInput(f"percentile={self.percentile}: a lower and an upper one are needed, such as [90, 100]")
        low, high = self.percentile
        if (low, high) != (0.0, 100.0) and self.score is None:
            raise BadInput(f"percentile={self.percentile}: name the score's files and column too")
        return Selection(self.num_samples, self.seed, self.class_ids, self.balanced, (low, high))

    @property
    def umap(self) -> UmapSettings:
        """How an embedding is laid out."""
        return UmapSettings(self.umap_neighbors, self.umap_min_dist, seed=self.umap_seed)

    def overridden(self, config: NetworkConfigOverrides) -> "Activations":
        """These settings with those of a run's configuration in their place."""
        return replace(self, **config.asked)

    def network_run(self, storage: Storage, device: Device) -> NetworkRun:
        """The network of one run."""
        return NetworkRun(storage, device, self.checkpoint, self.network, self.extraction, self.dtype, self.weights)

    def check(self) -> None:
        """Find what is wrong with the attributes, without opening any weights.

        Raises:
            BadInput: a setting means nothing, or the network has no such layer.
        """
        for given in (self.extraction, self.selection, self.umap):
            assert given
        find_resize(self.resize)
        if min(self.generated_chunks, self.generated_per_chunk, self.embedding_points) < 1:
            raise BadInput("generated_chunks, generated_per_chunk and embedding_points: at least 1 is needed")
        path = Storage().raw_root / self.network
        try:
            config = NetworkConfig.load(path) if path.exists() else NetworkConfig()
        except BadInput:
            return  # the run that needs it says so; other datasets load
        self.extraction.fit(config)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Four assets and their checks."""
        self.check()
        if (self.npz is None) == (self.folder is None):
            raise BadInput(f"{self.name}: one input is needed, npz or folder: {self.npz=}, {self.folder=}")
        if self.folder is not None:
            dataset = dagster_private.component(context, self.folder, ImageFolder)
            made = self.build_over(FolderInput(dataset, self.resize, self.class_conditioning))
        else:
            batches = dagster_private.component(context, str(self.npz), NpzImages)
            made = self.build_over(NpzInput(batches.name, batches.splits, self.enlarge))
        return dataset_definitions(context, self.name, made, self.automation)

    def build_over(self, source: Input) -> dg.Definitions:
        """The definitions for one input."""
        activations, reconstructions = _activations(self, source), _reconstructions(self, source)
        generated, embedding = _generated(self), _embedding(self, source)
        checks = activation_checks(activations, reconstructions, generated, embedding)
        return dg.Definitions([activations, reconstructions, generated, embedding], asset_checks=checks)


def _partitions(source: Input) -> dg.StaticPartitionsDefinition:
    return dg.StaticPartitionsDefinition([key for keys in source.splits.values() for key in keys])


def _input_run(
    dataset: Activations, source: Input, storage: Storage, device: Device, artifacts: Mapping[str, Artifacts]
) -> InputRun:
    score = Score(dataset.score.files, dataset.score.column) if dataset.score else None
    run = dataset.network_run(storage, device)
    reader = source.open(storage, artifacts)
    return InputRun(run, source, reader, dataset.selection, score, dataset.single_files)


def _rows(of_format: Callable[[Artifact, str], Rows], source: Input, artifact: Artifact) -> Rows:
    return of_format(artifact, source.series(artifact.partition))


def _generated_run(dataset: Activations, storage: Storage, device: Device) -> GeneratedRun:
    return GeneratedRun(dataset.network_run(storage, device), dataset.generated_per_chunk, dataset.class_ids)


def _activations(dataset: Activations, source: Input) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "activations",
        code_version="1",
        declared=dataset,
        partitions_def=_partitions(source),
        ins=source.ins,
        pool=POOL,
        io_manager_key="activations_io",
        kinds={"pytorch", "numpy"},
    )
    def activations(config: ActivationConfig, storage: Storage, device: Device, **artifacts: Artifacts) -> Builds:
        """What the network computes inside for every image: `batch_NNNNNN.npz` with one float32 (B, C·H·W) array per
        layer, `batch_NNNNNN.json` with class, synset and origin of each sample.

        `features.parquet` has the mean over the pixels, the largest value and the norm of each layer and sample;
        `moments.npz` their count, mean and scatter. The network stops at the deepest layer asked for.
        """
        run = cache(lambda: _input_run(dataset.overridden(config), source, storage, device, artifacts))
        rows = partial(_rows, activation_rows, source)
        return Builds(lambda key: run().activations(key), force=config.force, rows=rows)

    return activations


def _reconstructions(dataset: Activations, source: Input) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "reconstructions",
        code_version="1",
        declared=dataset,
        partitions_def=_partitions(source),
        ins=source.ins,
        pool=POOL,
        io_manager_key="reconstructions_io",
        kinds={"pytorch"},
    )
    def reconstructions(
        config: ReconstructionConfig, storage: Storage, device: Device, **artifacts: Artifacts
    ) -> Builds:
        """What the network makes of every image in one step: `images.tar` with the originals, `reconstructed.tar` with
        the results, `sample_NNNNNN.png` named by global index. It needs the whole network: three times the activations.
        """
        run = cache(lambda: _input_run(dataset.overridden(config), source, storage, device, artifacts))
        rows = partial(_rows, partial(png_rows, name=RECONSTRUCTED), source)
        return Builds(lambda key: run().reconstructions(key), force=config.force, rows=rows)

    return reconstructions


def _generated(dataset: Activations) -> dg.AssetsDefinition:
    @dataset_asset(
        dataset.name,
        "generated",
        code_version="1",
        declared=dataset,
        partitions_def=dg.StaticPartitionsDefinition([str(i) for i in range(dataset.generated_chunks)]),
        pool=POOL,
        io_manager_key="activations_io",
        kinds={"pytorch", "numpy"},
    )
    def generated(config: ActivationConfig, storage: Storage, device: Device) -> Builds:
        """Images the network generates in one step from seeded noise (`images.tar`), with the activations on the way,
        in the files that `activations` has: what real images are compared with.
        """
        run = cache(lambda: _generated_run(dataset.overridden(config), storage, device))
        rows = partial(activation_rows, series=f"{dataset.name}/generated")
        return Builds(lambda key: run().build(key), force=config.force, rows=rows)

    return generated


def _embedding(dataset: Activations, source: Input) -> dg.AssetsDefinition:
    every = {str(i): list(source.splits) for i in range(dataset.generated_chunks)}

    @dataset_asset(
        dataset.name,
        "embedding",
        code_version="1",
        partitions_def=dg.StaticPartitionsDefinition(list(source.splits)),
        ins={
            "activations": dg.AssetIn(partition_mapping=fan_in(source.splits)),
            "generated": dg.AssetIn(partition_mapping=dg.StaticPartitionMapping(every)),
        },
        io_manager_key="embedding_io",
        kinds={"csv"},
    )
    def embedding(config: BuildConfig, activations: Artifacts, generated: Artifacts) -> Builds:
        """Real and generated images on one plane, by the pooled features of all layers: PCA, then UMAP; coordinates,
        parameters and a plot. With it, by layer, the Fréchet distance of the two sets, and precision, recall, coverage.
        """
        run = EmbeddingRun(source.splits, activations, generated, dataset.embedding_points, dataset.seed, dataset.umap)

        def rows(artifact: Artifact) -> Rows:
            return point_rows(artifact, source.series(source.splits[artifact.partition][0]))

        return Builds(run.build, force=config.force, rows=rows)

    return embedding

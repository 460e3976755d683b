"""What `tensorflow_datasets` wants beside a dataset's TFRecord shards."""

from collections.abc import Callable, Mapping, Sequence

import dagster as dg

from imgassets.components.assets import dataset_asset
from imgassets.formats.tfds import FEATURES, FILES, INFO, features_json, info_json, names_txt
from imgassets.io.artifacts import Artifact, Artifacts, Build, Builds, Estimate, as_inputs
from imgassets.io.base import BuildConfig

SYNSET = "n00000000"


def tfds(
    dataset: str, stems: Mapping[str, Sequence[str]], synsets: Callable[[Artifacts], Sequence[str]]
) -> dg.AssetsDefinition:
    """The asset, whose three partitions are files beside the shards.

    `stems` are the shards of each split, and `synsets` gives those of the labels 1, 2, … from the indexes.
    """
    everything = dg.AssetIn(partition_mapping=dg.AllPartitionMapping())

    @dataset_asset(
        dataset,
        "tfds",
        code_version="1",
        partitions_def=dg.StaticPartitionsDefinition(list(FILES)),
        io_manager_key="tfds_io",
        kinds={"json", "tensorflow"},
        ins={"tar_index": everything, "tfrecords": everything},
    )
    def files(config: BuildConfig, tar_index: Artifacts, tfrecords: Artifacts) -> Builds:
        """`features.json`, `dataset_info.json` and the names of labels, beside the TFRecord shards.

        With them `tensorflow_datasets.builder_from_directory(folder)` reads the shards as they are.
        """

        def build(key: str) -> Build:
            if key == INFO:
                shards = {split: [tfrecords[name] for name in names] for split, names in stems.items()}
                inputs = as_inputs(shard for found in shards.values() for shard in found)

                def written() -> bytes:
                    return info_json(dataset, _sizes(shards))

                return Build(written, inputs, estimate=lambda: Estimate(len(written())))
            indexes: dict[str, str] = {}
            for split in stems:
                indexes |= tar_index[split].read(["synset", "label"])
            return Build(
                lambda: _labels(key, synsets(tar_index)),
                indexes,
                estimate=lambda: Estimate(len(_labels(key, [SYNSET] * 1000))),
            )

        return Builds(build, force=config.force)

    return files


def _labels(key: str, synsets: Sequence[str]) -> bytes:
    return features_json(len(synsets) + 1) if key == FEATURES else names_txt(synsets)


def _sizes(shards: Mapping[str, Sequence[Artifact]]) -> dict[str, list[tuple[int, int]]]:
    return {
        split: [(int(shard.manifest.facts["rows"]), shard.manifest.total_bytes) for shard in found]
        for split, found in shards.items()
    }

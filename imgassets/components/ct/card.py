"""What `datasets` is told of a split of CT shards."""

from collections.abc import Sequence

import dagster as dg

from imgassets.components.assets import dataset_asset
from imgassets.formats.ct_split import card
from imgassets.io.artifacts import Build, Builds, Estimate
from imgassets.io.base import BuildConfig
from imgassets.sources.ct_rate import CLASSES


def cards(dataset: str, splits: Sequence[str]) -> dg.AssetsDefinition:
    """The asset, a file beside the shards of each split."""

    @dataset_asset(
        dataset,
        "card",
        code_version="1",
        partitions_def=dg.StaticPartitionsDefinition(list(splits)),
        io_manager_key="ct_card_io",
        kinds={"huggingface"},
    )
    def readme(config: BuildConfig) -> Builds:
        """`README.md` of a split's folder: which files are shards, of which split, and what labels mean.

        `datasets.load_dataset(folder)` reads it, and takes `manifest.json` for no shard.
        """

        def build(split: str) -> Build:
            text = card(split, CLASSES)
            return Build(lambda: text, estimate=lambda: Estimate(len(text)))

        return Builds(build, force=config.force)

    return readme

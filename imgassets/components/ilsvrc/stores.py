"""The image stores of an ILSVRC dataset, from its index and the archives where they lie."""

from collections.abc import Callable, Sequence

import dagster as dg

from imgassets.classes import imagenet_classes
from imgassets.components.store_assets import Feed, StoreSettings, store_assets
from imgassets.environment import Storage
from imgassets.io.artifacts import Artifact, Artifacts
from imgassets.sources.base import Source
from imgassets.sources.ilsvrc_index import Ilsvrc
from imgassets.sources.resized import Resized
from imgassets.sources.tar_files import COLUMNS, tar_files


def ilsvrc_stores(
    index: dg.AssetsDefinition,
    splits: Sequence[str],
    formats: Sequence[str],
    settings: StoreSettings,
    size: tuple[int, int] | None,
    source: Callable[[Storage], Ilsvrc],
) -> dg.Definitions:
    """One store of each split for each format; without a `size` images keep the bytes they have in the archive."""

    def feed(split: str, storage: Storage, artifacts: Artifacts) -> Feed:
        ilsvrc, upstream = source(storage), artifacts[split]
        raw = storage.raw_checksums(ilsvrc.archive(split))
        upstream.expect_made_from(raw)
        return Feed(
            lambda: _images(ilsvrc, split, upstream, size),
            raw | upstream.read(COLUMNS),
            {"size": size and list(size), "mode": "RGB"},
            {"size": None, "mode": "RGB"},
            guess=None if size else ilsvrc.archive(split).stat().st_size,
        )

    return store_assets(index.key.path[0], splits, formats, settings, feed, dg.AssetIn(index.key))


def _images(ilsvrc: Ilsvrc, split: str, index: Artifact, size: tuple[int, int] | None) -> Source:
    classes = imagenet_classes().class_to_idx
    files = tar_files(ilsvrc.archive(split), index.open().table(COLUMNS), classes)
    return files if size is None else Resized(files, size)

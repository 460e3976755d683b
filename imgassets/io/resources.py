"""What the assets of every dataset need: where things lie, what networks run on, an IO manager for each format."""

import os
from functools import cache
from typing import Any

from imgassets.environment import Device, Storage
from imgassets.io.activations import ActivationsIOManager, ReconstructionsIOManager
from imgassets.io.arrays import ArraysIOManager
from imgassets.io.beside import CtCardIOManager, TfdsIOManager
from imgassets.io.ct_rate import CtIndexIOManager, CtManifestIOManager, CtShardIOManager
from imgassets.io.embedding import EmbeddingIOManager
from imgassets.io.index import IndexIOManager
from imgassets.io.stores import StoreIOManager
from imgassets.io.systemds import SystemDSIOManager
from imgassets.io.tfrecords import TFRecordsIOManager
from imgassets.projects import Project
from imgassets.stores.registry import codec_names

VARIABLES = ("DAGSTER_HOME", "IMGASSETS_RAW", "IMGASSETS_STORE", "HOME")


def resources(project: Project | None = None) -> dict[str, Any]:
    """Resources by key, for the datasets of a project, by default the current one.

    Each dataset brings them along; Dagster merges what is one and the same object, so there is one set for each
    project and environment.

    Raises:
        BadInput: a setting is no folder's path, or there is no home.
    """
    return dict(_resources(project or Project.current(), tuple(map(os.environ.get, VARIABLES))))


@cache
def _resources(project: Project, environment: tuple[str | None, ...]) -> dict[str, Any]:
    storage = Storage.of(project)
    storage.raw_root, storage.vault  # noqa: B018  (what is no folder's path is refused before anything else)
    return resources_over(storage)


def resources_over(storage: Storage) -> dict[str, Any]:
    """Resources by key, for things that lie somewhere else."""
    return {
        "storage": storage,
        "device": Device(),
        "index_io": IndexIOManager(storage=storage),
        "arrays_io": ArraysIOManager(storage=storage),
        "ct_index_io": CtIndexIOManager(storage=storage),
        "ct_shard_io": CtShardIOManager(storage=storage),
        "ct_manifest_io": CtManifestIOManager(storage=storage),
        "ct_card_io": CtCardIOManager(storage=storage),
        "activations_io": ActivationsIOManager(storage=storage),
        "reconstructions_io": ReconstructionsIOManager(storage=storage),
        "embedding_io": EmbeddingIOManager(storage=storage),
        "systemds_io": SystemDSIOManager(storage=storage),
        "tfrecords_io": TFRecordsIOManager(storage=storage),
        "tfds_io": TfdsIOManager(storage=storage),
        **{f"{name}_io": StoreIOManager(codec=name, storage=storage) for name in codec_names()},
    }

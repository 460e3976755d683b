"""What the assets of every dataset need: where things lie, what networks run on, an IO manager for each format."""

import os
from functools import cache
from typing import Any

from imgassets.environment import Device, EngineSetting, Storage
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

VARIABLES = ("DAGSTER_HOME", "IMGASSETS_RAW", "IMGASSETS_STORE", "IMGASSETS_ENGINE", "HOME")


def resources(project: Project | None = None) -> dict[str, Any]:
    """Resources by key, for the datasets of a project, by default the current one.

    Each dataset brings them along; Dagster merges what is one and the same object, so there is one set for each
    project and environment.

    Raises:
        BadInput: a setting is no folder's path, or names no engine, or there is no home.
    """
    return dict(_resources(project or Project.current(), tuple(map(os.environ.get, VARIABLES))))


@cache
def _resources(project: Project, environment: tuple[str | None, ...]) -> dict[str, Any]:
    storage = Storage.of(project)
    storage.raw_root, storage.vault  # noqa: B018  (what is no folder's path is refused before anything else)
    EngineSetting().of(1)
    return resources_over(storage)


def resources_over(storage: Storage) -> dict[str, Any]:
    """Resources by key, for things that lie somewhere else."""
    engine = EngineSetting.configure_at_launch()  # what a run says of it reaches the IO managers
    own: dict[str, Any] = {"storage": storage, "engine": engine}
    return {
        **own,
        "device": Device(),
        "index_io": IndexIOManager(**own),
        "arrays_io": ArraysIOManager(**own),
        "ct_index_io": CtIndexIOManager(**own),
        "ct_shard_io": CtShardIOManager(**own),
        "ct_manifest_io": CtManifestIOManager(**own),
        "ct_card_io": CtCardIOManager(**own),
        "activations_io": ActivationsIOManager(**own),
        "reconstructions_io": ReconstructionsIOManager(**own),
        "embedding_io": EmbeddingIOManager(**own),
        "systemds_io": SystemDSIOManager(**own),
        "tfrecords_io": TFRecordsIOManager(**own),
        "tfds_io": TfdsIOManager(**own),
        **{f"{name}_io": StoreIOManager(codec=name, **own) for name in codec_names()},
    }

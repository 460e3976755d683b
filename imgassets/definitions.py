"""The one entry point: every dataset under `defs/`, and the resources its assets use."""

import warnings
from pathlib import Path

import dagster as dg

# backfill policies, partitioned checks and components are used knowingly
for _category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=_category)

from imgassets.components.declarations import refuse_mistakes  # noqa: E402
from imgassets.io.activations import ActivationsIOManager, ReconstructionsIOManager  # noqa: E402
from imgassets.io.arrays import ArraysIOManager  # noqa: E402
from imgassets.io.ct_rate import CtIndexIOManager, CtManifestIOManager, CtShardIOManager  # noqa: E402
from imgassets.io.embedding import EmbeddingIOManager  # noqa: E402
from imgassets.io.index import IndexIOManager  # noqa: E402
from imgassets.io.stores import STORE_IO_MANAGERS  # noqa: E402
from imgassets.io.systemds import SystemDSIOManager  # noqa: E402
from imgassets.io.tfrecords import TFRecordsIOManager  # noqa: E402
from imgassets.resources import Device, Storage  # noqa: E402


@dg.definitions
def defs() -> dg.Definitions:
    """All datasets."""
    storage = Storage()
    storage.raw_root, storage.vault  # noqa: B018  (what is no folder's path is refused before anything else)
    resources = {
        "storage": storage,
        "io_manager": dg.mem_io_manager,  # Dagster would add one that pickles to disk
        "index_io": IndexIOManager(storage=storage),
        "arrays_io": ArraysIOManager(storage=storage),
        "ct_index_io": CtIndexIOManager(storage=storage),
        "ct_shard_io": CtShardIOManager(storage=storage),
        "ct_manifest_io": CtManifestIOManager(storage=storage),
        "device": Device(),
        "activations_io": ActivationsIOManager(storage=storage),
        "reconstructions_io": ReconstructionsIOManager(storage=storage),
        "embedding_io": EmbeddingIOManager(storage=storage),
        "systemds_io": SystemDSIOManager(storage=storage),
        "tfrecords_io": TFRecordsIOManager(storage=storage),
        **{key: manager(storage=storage) for key, manager in STORE_IO_MANAGERS.items()},
    }
    refuse_mistakes(folder := Path(__file__).parent / "defs")
    datasets = dg.load_from_defs_folder(path_within_project=folder)
    return dg.Definitions.merge(datasets, dg.Definitions(resources=resources, executor=dg.in_process_executor))

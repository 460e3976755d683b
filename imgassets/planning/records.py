"""What Dagster's records and the store say of partitions together."""

import dagster as dg

from imgassets.errors import ImgassetsError
from imgassets.planning.graph import Asset

ENDED_BADLY = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def missing(asset: Asset, instance: dg.DagsterInstance) -> list[str]:
    """Partitions that are not in the store, or that Dagster has no record of."""
    recorded = instance.get_materialized_partitions(asset.key)
    return [key for key in asset.keys(instance) if key not in recorded or not _exists(asset, key)]


def failed(asset: Asset, instance: dg.DagsterInstance) -> list[str]:
    """Partitions whose last attempt failed or was stopped, and that have not been made since."""
    return [key for key, run in _attempts(asset, instance).items() if run.status in ENDED_BADLY]


def in_progress(asset: Asset, instance: dg.DagsterInstance) -> list[str]:
    """Partitions of runs that are waiting or at work."""
    return [key for key, run in _attempts(asset, instance).items() if not run.is_finished]


def _attempts(asset: Asset, instance: dg.DagsterInstance) -> dict[str, dg.DagsterRun]:
    """The last run of each partition that it has not been made by, in the order of partitions."""
    storage = instance.event_log_storage
    found = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset.key)
    ids = list({run_id for run_id, _ in found.values()})
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))} if ids else {}
    return {key: runs[found[key][0]] for key in asset.keys(instance) if key in found and found[key][0] in runs}


def _exists(asset: Asset, partition: str) -> bool:
    try:
        asset.artifact(partition).manifest  # noqa: B018
    except ImgassetsError:
        return False
    return True

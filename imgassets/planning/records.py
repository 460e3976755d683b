"""What Dagster's records and the vault say of partitions together."""

from collections.abc import Collection

import dagster as dg

from imgassets.errors import ImgassetsError
from imgassets.io import dagster_private
from imgassets.planning.graph import Asset


def missing(asset: Asset, instance: dg.DagsterInstance) -> list[str]:
    """Partitions that are not in the vault, or that Dagster has no record of."""
    recorded = dagster_private.recorded(instance, asset.key)
    return [key for key in asset.keys(instance) if key not in recorded or not _exists(asset, key)]


def failed(asset: Asset, instance: dg.DagsterInstance) -> list[str]:
    """Partitions whose last attempt failed, and that have not been made since."""
    return _last(asset, instance, dg.DagsterRunStatus.FAILURE)


def stopped(asset: Asset, instance: dg.DagsterInstance) -> list[str]:
    """Partitions whose last attempt somebody stopped, and that have not been made since."""
    return _last(asset, instance, dg.DagsterRunStatus.CANCELED)


def in_progress(asset: Asset, instance: dg.DagsterInstance) -> list[str]:
    """Partitions of runs that are waiting or at work."""
    return [key for key, run in _attempts(asset, instance).items() if not run.is_finished]


def _last(asset: Asset, instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> list[str]:
    return [key for key, run in _attempts(asset, instance).items() if run.status is status]


def _attempts(asset: Asset, instance: dg.DagsterInstance) -> dict[str, dg.DagsterRun]:
    """The last run of each partition that it has not been made by, in the order of partitions."""
    found = dagster_private.attempts(instance, asset.key)
    runs = {run.run_id: run for run in runs_of(instance, set(found.values()))}
    return {key: runs[found[key]] for key in asset.keys(instance) if key in found and found[key] in runs}


def runs_of(instance: dg.DagsterInstance, ids: Collection[str]) -> list[dg.DagsterRun]:
    """The runs of these ids, those that are still recorded."""
    records = instance.get_run_records(dg.RunsFilter(run_ids=list(ids))) if ids else []
    return [record.dagster_run for record in records]


def _exists(asset: Asset, partition: str) -> bool:
    try:
        asset.artifact(partition).manifest  # noqa: B018
    except ImgassetsError:
        return False
    return True

"""The checks of an asset, and which of them never came to a verdict: their run was killed, or failed, before it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus, AssetCheckPartitionInfo

from imgassets.operations.launcher import gone, this_host
from imgassets.operations.selection import definitions
from imgassets.planning.graph import Asset, run_tags

ALL = "*"
"""What a check is said to be about that judges all partitions of an asset at once."""


def checks_of(asset: dg.AssetKey) -> dict[dg.AssetCheckKey, dg.AssetChecksDefinition]:
    """An asset's checks."""
    every = definitions().get_repository_def().asset_checks_defs_by_key
    return {check: definition for check, definition in every.items() if check.asset_key == asset}


def is_partitioned(definition: dg.AssetChecksDefinition) -> bool:
    """Whether a check judges each partition by itself."""
    return next(iter(definition.check_specs)).partitions_def is not None


def unchecked(
    asset: Asset, instance: dg.DagsterInstance, tried: Collection[str] = ()
) -> dict[dg.AssetCheckKey, set[str]]:
    """The recorded partitions that a check was never run on, or not since it was last planned; `ALL` for all of them.

    What runs at work have planned is left to them, and so is what those in `tried` have.
    """
    recorded = instance.get_materialized_partitions(asset.key)
    checks = checks_of(asset.key)
    if not recorded or not checks:
        return {}
    infos = instance.event_log_storage.get_asset_check_partition_info(list(checks))
    left = _at_work(infos, instance) | set(tried)
    done = {
        (info.check_key, info.partition_key or ALL)
        for info in infos
        if info.latest_execution_status is not AssetCheckExecutionRecordStatus.PLANNED
        or info.latest_planned_run_id in left
    }
    return {
        check: {key for key in (recorded if is_partitioned(definition) else {ALL}) if (check, key) not in done}
        for check, definition in checks.items()
    }


def run_checks(
    checks: Collection[dg.AssetCheckKey],
    partitions: Sequence[str],
    instance: dg.DagsterInstance,
    loggers: Mapping[str, Any],
) -> dg.ExecuteInProcessResult:
    """Run checks alone, recorded in `instance`, on neighbouring partitions; on none those that judge all at once."""
    job = definitions().resolve_implicit_global_asset_job_def().get_subset(asset_check_selection=set(checks))
    return job.execute_in_process(
        run_config=loggers,
        instance=instance,
        tags=this_host() | (run_tags(partitions) if partitions else {}),
        raise_on_error=False,
    )


def _at_work(infos: Collection[AssetCheckPartitionInfo], instance: dg.DagsterInstance) -> set[str]:
    """The runs that have planned a check and may still run it."""
    planned = AssetCheckExecutionRecordStatus.PLANNED
    ids = {info.latest_planned_run_id for info in infos if info.latest_execution_status is planned}
    runs = instance.get_runs(dg.RunsFilter(run_ids=list(ids))) if ids else []
    return {run.run_id for run in runs if not run.is_finished and not gone(run, instance)}

"""The checks of an asset, and which of them never came to a finding: their run was killed, or failed, before it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from imgassets.io import dagster_private
from imgassets.operations.launcher import gone, of_this_process
from imgassets.operations.selection import definitions
from imgassets.planning.graph import Asset, run_tags
from imgassets.planning.records import runs_of

ALL = "*"
"""What a check is said to be about that judges all partitions of an asset at once."""


def checks_of(asset: dg.AssetKey) -> dict[dg.AssetCheckKey, dg.AssetChecksDefinition]:
    """An asset's checks."""
    every = dagster_private.repository_of(definitions()).asset_checks_defs_by_key
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
    recorded = dagster_private.recorded(instance, asset.key)
    checks = checks_of(asset.key)
    if not recorded or not checks:
        return {}
    records = dagster_private.check_records(instance, checks)
    left = _at_work(records, instance) | set(tried)
    done = {
        (record.check, record.partition or ALL) for record in records if not record.planned or record.run_id in left
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
    run_id: str | None = None,
) -> dg.ExecuteInProcessResult:
    """Run checks alone, recorded in `instance`, on neighbouring partitions; on none those that judge all at once."""
    job = dagster_private.job_of_checks(definitions(), checks)
    return job.execute_in_process(
        run_config=loggers,
        instance=instance,
        run_id=run_id,
        tags=of_this_process() | (run_tags(partitions) if partitions else {}),
        raise_on_error=False,
    )


def _at_work(records: Collection[dagster_private.CheckRecord], instance: dg.DagsterInstance) -> set[str]:
    """The runs that have planned a check and may still run it."""
    runs = runs_of(instance, {record.run_id for record in records if record.planned})
    return {run.run_id for run in runs if not run.is_finished and not gone(run, instance)}

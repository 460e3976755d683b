"""Many partitions in few runs, in this process: what Dagster's own command line refuses for multi-run assets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from imgassets.errors import BadInput, one_line
from imgassets.io.base import on_partition
from imgassets.io.graph import Asset, run_tags
from imgassets.io.prospects import Prospect, Prospects, Verdict
from imgassets.operations.graph import definitions, graph
from imgassets.operations.launcher import this_host


@dataclass
class Outcome:
    """What became of one asset's partitions."""

    asset: str
    built: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by partition."""
    failed_checks: dict[str, str] = field(default_factory=dict)
    """What was found, by name of the check and partition."""


def backfill(
    asset: Asset,
    partitions: Sequence[str],
    instance: dg.DagsterInstance,
    *,
    config: Mapping[str, Any] | None = None,
    log_level: str = "CRITICAL",
    observe: Callable[[str], None] | None = None,
) -> Outcome:
    """Materialize `partitions` of an asset in as few runs as its backfill policy allows, recorded in `instance`.

    What is recorded and proven to be unchanged needs no run. A run covers neighbours only, as
    Dagster's ranges do. A partition that fails keeps no other from being made.

    Args:
        config: run configuration of the asset, e.g. `{"force": True}`.
        log_level: least important lines that the runs print.
        observe: told of every partition that is done with.

    Raises:
        BadInput: a setting in `config` is of another type than the asset's.
    """
    outcome = Outcome(asset.name)
    job = definitions().resolve_implicit_global_asset_job_def()
    run_config = {
        "loggers": {"console": {"config": {"log_level": log_level}}},
        "ops": {"__".join(asset.key.path): {"config": dict(config or {})}},
    }
    outcome.unchanged = _unchanged(asset, partitions, instance, config or {})
    for key in outcome.unchanged:
        if observe:
            observe(key)
    skipped = set(outcome.unchanged)
    token = on_partition.set(observe)
    try:
        for run in asset.runs([key for key in partitions if key not in skipped], instance):
            result = job.execute_in_process(
                run_config=run_config,
                instance=instance,
                asset_selection=[asset.key],
                partition_key=run[0] if len(run) == 1 else None,
                tags=this_host() | (run_tags(run) if len(run) > 1 else {}),
                raise_on_error=False,
            )
            _collect(outcome, run, result, instance)
    except dg.DagsterInvalidConfigError as error:
        raise BadInput(f"{asset.name} cannot be configured so: {error.errors[0].message}") from error
    finally:
        on_partition.reset(token)
    return outcome


def accepts(asset: Asset, config: Mapping[str, Any]) -> bool:
    """Whether the asset's run configuration has all of these settings."""
    schema: Any = asset.definition.op.config_schema.as_field().config_type
    return set(config) <= set(getattr(schema, "fields", ()))


def _unchanged(
    asset: Asset, partitions: Sequence[str], instance: dg.DagsterInstance, config: Mapping[str, Any]
) -> list[str]:
    if config.get("force"):
        return []
    recorded = instance.get_materialized_partitions(asset.key)
    prospects = Prospects(graph(), instance, config={asset.key: config})
    return [key for key in partitions if key in recorded and _proven(prospects.of(asset, key))]


def _proven(prospect: Prospect) -> bool:
    """What a run would find out, and then do nothing."""
    if prospect.verdict is not Verdict.KEEP or prospect.recipe is None:
        return False
    artifact = prospect.asset.artifact(prospect.partition)
    return artifact.store.proven(artifact.location, prospect.recipe) is not None


def _root(failure: Any) -> str:
    """The error that all others of a step's failure came of; its own alone says what happened."""
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return one_line(error.message if error is not None else failure.error_display_string)


def _collect(
    outcome: Outcome, run: Sequence[str], result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance
) -> None:
    # what a failed step finished is in the log alone: its events never reach the result
    entries = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [entry.get_dagster_event() for entry in entries]
    states = {
        str(event.partition): event.step_materialization_data.materialization.metadata["state"].value
        for event in events
    }
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    reasons = {
        key: str(value.value)
        for failure in failures
        if failure.user_failure_data
        for key, value in failure.user_failure_data.metadata.items()
    }
    unexpected = _root(failures[0]) if failures else "the run ended early"
    for key in run:
        if key not in states:
            outcome.failed[key] = reasons.get(key, unexpected)
        elif states[key] == "built":
            outcome.built.append(key)
        else:
            outcome.unchanged.append(key)
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and (evaluation.partition or len(run) == 1):
            name = f"{evaluation.check_name} of {evaluation.partition or run[0]}"
            outcome.failed_checks[name] = f"{evaluation.severity.value.lower()}: {evaluation.description or 'failed'}"

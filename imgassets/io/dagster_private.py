"""What we need of Dagster and its public API does not give: every use of a private part of it is here.

Each function says why it is needed; its test tells what breaks when a version of Dagster drops it.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

Declared = TypeVar("Declared", bound=dg.Component)

__all__ = ["CheckRunHealthResult", "LaunchRunContext", "WorkerStatus"]  # types of a launcher's methods; functions below


def instance_of(context: dg.OutputContext | dg.InputContext) -> dg.DagsterInstance:
    """The instance of a run: dynamic partitions are listed there, and the contexts of IO managers do not offer it."""
    return context.instance if isinstance(context, dg.InputContext) else context.step_context.instance


def resource_config(context: dg.OutputContext) -> Mapping[str, Any]:
    """What a run says of resources: another process makes them anew by it."""
    run: Any = context.step_context.run_config
    said: Mapping[str, Any] = run.get("resources", {})
    return said


def concurrent_runs(context: dg.OutputContext) -> int:
    """How many runs the instance has at a time at most; 1 where it sets no limit."""
    queue = context.step_context.instance.get_concurrency_config().run_queue_config
    return max(1, queue.max_concurrent_runs) if queue else 1


def set_data_version(context: dg.OutputContext, version: str) -> None:
    """Give the output a data version: the public ways are for values, and for assets without an IO manager."""
    context.step_context.set_data_version(context.asset_key, dg.DataVersion(version))


def add_partition_metadata(context: dg.OutputContext, partition: str, metadata: Mapping[str, Any]) -> None:
    """Metadata of one partition of a run over several; `add_output_metadata` gives all of them the same."""
    context.step_context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=partition)


def data_version_tag(version: str) -> dict[str, str]:
    """The tag by which a materialization that is logged by hand tells its data version."""
    from dagster._core.definitions.data_version import DATA_VERSION_TAG

    return {DATA_VERSION_TAG: version}


def body(definition: dg.AssetsDefinition) -> Callable[..., Any]:
    """The function that `@asset` or `@asset_check` was put on: it is called outside of any run to see what it says."""
    function: Any = definition.op.compute_fn
    called: Callable[..., Any] = function.decorated_fn
    return called


def config_fields(definition: dg.AssetsDefinition) -> set[str]:
    """Names of an asset's run configuration."""
    schema: Any = definition.op.config_schema.as_field().config_type
    return set(getattr(schema, "fields", ()))


def config_descriptions(definition: dg.AssetsDefinition) -> dict[str, str]:
    """What each name of an asset's run configuration means."""
    schema: Any = definition.op.config_schema.as_field().config_type
    return {name: field.description or "" for name, field in getattr(schema, "fields", {}).items()}


def inputs(definition: dg.AssetsDefinition) -> dict[str, dg.AssetKey]:
    """Upstream asset by name of the argument; what is public (`asset_deps`) tells the keys alone."""
    return dict(definition.keys_by_input_name)


def io_manager_key(definition: dg.AssetsDefinition, key: dg.AssetKey) -> str:
    """Key of the resource that stores an asset."""
    return definition.get_io_manager_key_for_asset_key(key)


def largest_run(definition: dg.AssetsDefinition) -> int | None:
    """Most partitions that a run may cover by the backfill policy; None for no limit."""
    policy = definition.backfill_policy
    return policy.max_partitions_per_run if policy else 1


def executable(repository: dg.RepositoryDefinition) -> Iterator[tuple[dg.AssetKey, dg.AssetsDefinition]]:
    """Assets that runs can make, upstream first; their definitions name their inputs in full, as those declared do not.

    Assets that do not depend on each other come by their keys.
    """
    graph = repository.asset_graph
    for key in (key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)):
        if graph.get(key).is_executable:
            yield key, graph.get(key).assets_def


def resource_definitions(repository: dg.RepositoryDefinition) -> Mapping[str, dg.ResourceDefinition]:
    """Resources of a code location by key: a sensor gets only those that it names, and needs the IO managers."""
    return repository.get_top_level_resources()


def repository_of(definitions: dg.Definitions) -> dg.RepositoryDefinition:
    """The code location of definitions that no Dagster process has loaded, such as those of our command line."""
    return definitions.get_repository_def()


def validate(definitions: dg.Definitions) -> None:
    """Find what is wrong with assets and between them; `Definitions.validate_loadable` would resolve every job, too."""
    definitions.resolve_asset_graph()


def materializable(definitions: dg.Definitions) -> set[dg.AssetKey]:
    """All assets that can be made."""
    return set(definitions.resolve_asset_graph().materializable_asset_keys)


def groups(definitions: dg.Definitions) -> list[str]:
    """Names of all groups, sorted."""
    graph = definitions.resolve_asset_graph()
    return sorted({graph.get(key).group_name for key in graph.get_all_asset_keys()})


def selected(definitions: dg.Definitions, selection: str) -> set[dg.AssetKey]:
    """Keys of a selection in Dagster's syntax, the one of its UI and command line."""
    return set(dg.AssetSelection.from_string(selection).resolve(definitions.resolve_asset_graph()))


def job_of_all(definitions: dg.Definitions) -> dg.JobDefinition:
    """Dagster's own job of all assets, the one that its UI starts; `materialize` makes one anew for every run."""
    return definitions.resolve_implicit_global_asset_job_def()


def job_of_checks(definitions: dg.Definitions, checks: Collection[dg.AssetCheckKey]) -> dg.JobDefinition:
    """A job of some checks and no asset."""
    return job_of_all(definitions).get_subset(asset_check_selection=set(checks))


def component(context: dg.ComponentLoadContext, path: str, kind: type[Declared]) -> Declared:
    """The component that another folder declares, for one that is built on top of it."""
    return context.load_component(path, kind)


@dataclass(frozen=True)
class CheckRecord:
    """What is recorded last of a check on a partition; `partition` is None for all of them together."""

    check: dg.AssetCheckKey
    partition: str | None
    run_id: str
    planned: bool
    """Whether it was planned by the run, and has no verdict yet."""


def check_records(instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey]) -> list[CheckRecord]:
    """The last record of each check and partition, in one query."""
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

    planned = AssetCheckExecutionRecordStatus.PLANNED
    return [
        CheckRecord(
            info.check_key, info.partition_key, info.latest_planned_run_id, info.latest_execution_status is planned
        )
        for info in instance.event_log_storage.get_asset_check_partition_info(list(checks))
    ]


def recorded(instance: dg.DagsterInstance, asset: dg.AssetKey) -> set[str]:
    """Partitions of an asset that were ever made; `get_status_by_partition` tells of the last attempts instead."""
    return instance.get_materialized_partitions(asset)


def attempts(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[str, str]:
    """Id of the last run of each partition that has not made it, in one query for thousands of partitions."""
    storage = instance.event_log_storage
    found = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
    return {partition: run_id for partition, (run_id, _) in found.items()}


def materializations(instance: dg.DagsterInstance, run_id: str) -> dict[str, dg.AssetMaterialization]:
    """What a run has recorded by partition: what a step finished before it failed is in the log alone."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [entry.get_dagster_event() for entry in entries]
    return {str(event.partition): event.step_materialization_data.materialization for event in events}


def evaluations(result: dg.ExecuteInProcessResult) -> list[dg.AssetCheckEvaluation]:
    """Verdicts of the checks of a run."""
    return list(result.get_asset_check_evaluations())


@dataclass(frozen=True)
class StepFailure:
    """How a step failed."""

    step: str
    """Name of the op."""
    error: str
    """Message of the error that all others came of; its own alone says what happened."""
    metadata: Mapping[str, Any]
    """Value by name, of a `Failure` that was raised on purpose."""
    interrupted: bool
    """Whether a signal ended it."""


def step_failures(result: dg.ExecuteInProcessResult) -> list[StepFailure]:
    """How steps of a run failed, in order; public results tell that they did."""
    from dagster._core.execution.plan.objects import ErrorSource

    failures = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            message = error.message if error is not None else data.error_display_string
            metadata = data.user_failure_data.metadata if data.user_failure_data else {}
            values = {name: value.value for name, value in metadata.items()}
            interrupted = data.error_source is ErrorSource.INTERRUPT
            failures.append(StepFailure(str(event.node_name), message, values, interrupted))
    return failures


def was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a signal ended the run: it then counts as failed, and the result is the same as of one that did."""
    return any(failure.interrupted for failure in step_failures(result))


def cancel(instance: dg.DagsterInstance, run_id: str, message: str) -> None:
    """Record a run as canceled that has begun and not succeeded, also one that is recorded as failed."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status is not dg.DagsterRunStatus.SUCCESS:
        instance.report_run_canceled(run, message)


def at_work(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Runs that have begun and not ended, as far as is recorded."""
    begun = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    return [record.dagster_run for record in instance.get_run_records(dg.RunsFilter(statuses=begun))]


def end(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Record that a run has failed, or is canceled if that was asked for: its own process cannot any more."""
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message)
    else:
        instance.report_run_failed(run, message)


def tag_run(instance: dg.DagsterInstance, run_id: str, tags: Mapping[str, str]) -> None:
    """Add tags to a run that is there already: a launcher does not create it."""
    instance.add_run_tags(run_id, dict(tags))


def instance_of_launcher(launcher: dg.DefaultRunLauncher) -> dg.DagsterInstance:
    """The instance whose runs a launcher starts, which Dagster gives it after it has made it."""
    return launcher._instance


def last_process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Id of the process that the events of a run name last, and when (seconds since 1970); None where none does."""
    for entry in reversed(instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None:
            return int(str(pid.value)), entry.timestamp
    return None


def is_of_one_machine(instance: dg.DagsterInstance) -> bool:
    """Whether runs are recorded in SQLite, whose files are of one machine, and not in a database that several share."""
    from dagster._core.storage.runs import SqliteRunStorage

    return isinstance(instance.run_storage, SqliteRunStorage)


@contextmanager
def web_app(instance: dg.DagsterInstance, workspace: Path, *, read_only: bool) -> Iterator[Any]:
    """The webserver as an ASGI application: its own command offers no place for a guard before it."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    target = WorkspaceFileTarget([str(workspace)])
    with WorkspaceProcessContext(instance, target, version=dg.__version__, read_only=read_only) as context:
        yield create_app_from_workspace_process_context(context)


def daemon_command(workspace: Path) -> list[str]:
    """The command of Dagster's daemon; the script `dagster-daemon` may lie in no folder of `PATH`."""
    return [sys.executable, "-m", "dagster._daemon", "run", "-w", str(workspace)]


def is_cron(text: str) -> bool:
    """Whether a schedule would take `text`: YAML is refused with a line number before there is one."""
    from dagster._utils.schedules import is_valid_cron_string

    return is_valid_cron_string(text)


def last_tick(cron: str, now: datetime) -> float:
    """The last time of a cron expression (UTC) that has passed at `now`, in seconds since 1970, as schedules count."""
    from dagster._utils.schedules import get_latest_completed_cron_tick

    return get_latest_completed_cron_tick(cron, now.astimezone(UTC), "UTC").timestamp()

"""Many partitions in few runs, in this process: what Dagster's own command line refuses for multi-run assets."""

import gc
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import dagster as dg

from imgassets import interrupts
from imgassets.environment import Storage
from imgassets.errors import Misunderstood, one_line
from imgassets.io import dagster_private
from imgassets.io.base import on_partition
from imgassets.operations.checks import ALL, checks_of, is_partitioned, run_checks, unchecked
from imgassets.operations.division import Division, share
from imgassets.operations.launcher import of_this_process
from imgassets.operations.selection import definitions, graph
from imgassets.planning.graph import Asset, run_tags
from imgassets.planning.prospects import Prospect, Prospects, Verdict


@dataclass
class Outcome:
    """What became of one asset's partitions."""

    asset: str
    built: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by partition."""
    checked: list[str] = field(default_factory=list)
    """Partitions whose runs had not come to all of their checks; `*` for the checks of all of them together."""
    failed_checks: dict[str, str] = field(default_factory=dict)
    """What was found, by name of the check and partition."""
    left: list[str] = field(default_factory=list)
    """Partitions that were not come to, or not to their end, because somebody stopped the work."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C, SIGTERM, or a run that was terminated from the UI; what was made until then stays."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.asset}: {len(outcome.left)} partitions left")
        self.outcome = outcome


def backfill(
    asset: Asset,
    partitions: Sequence[str],
    instance: dg.DagsterInstance,
    *,
    config: Mapping[str, Any] | None = None,
    engine: str | None = None,
    log_level: str = "CRITICAL",
    observe: Callable[[str], None] | None = None,
) -> Outcome:
    """Materialize `partitions` of an asset in as few runs as its backfill policy allows, recorded in `instance`.

    What is recorded and proven to be unchanged needs no run. A run covers neighbours only, as
    Dagster's ranges do. A partition that fails keeps no other from being made. Checks that a run did not come to,
    because it was killed or one of its partitions failed, are run in the end.

    Args:
        config: run configuration of the asset, e.g. `{"force": True}`.
        engine: who makes them, as `IMGASSETS_ENGINE` says it, which is the default.
        log_level: least important lines that the runs print.
        observe: told of every partition that is done with.

    Raises:
        Misunderstood: a setting in `config` is of another type than the asset's.
        Stopped: somebody stopped the work; tells what has become of the partitions until then.
    """
    outcome = Outcome(asset.name)
    loggers = {"loggers": {"console": {"config": {"log_level": log_level}}}}
    run_config = {**loggers, "ops": {"__".join(asset.key.path): {"config": dict(config or {})}}}
    if engine is not None:
        run_config["resources"] = {"engine": {"config": {"engine": engine}}}
    checked: set[str] = set()
    token = on_partition.set(observe)
    gc.freeze()  # what is there now stays: only what runs leave behind is looked through
    try:
        recorded = dagster_private.recorded(instance, asset.key)
        _keep(outcome, _proven(asset, [key for key in partitions if key in recorded], instance, config or {}))
        kept = set(outcome.unchanged)
        left = [key for key in partitions if key not in kept]
        with closing(_runs(outcome, asset, left, instance, config or {})) as runs:
            for run in runs:
                run_id = _make(outcome, asset, run, instance, run_config)
                _tidy()
                if not outcome.failed.keys() & run:  # else Dagster has skipped its checks
                    checked.add(run_id)
        _check_the_rest(outcome, asset, instance, loggers, checked)
    except dg.DagsterInvalidConfigError as error:
        raise Misunderstood(f"{asset.name} cannot be configured so: {error.errors[0].message}") from error
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        done = {*outcome.built, *outcome.unchanged, *outcome.failed}
        outcome.left = [key for key in partitions if key not in done]
        raise Stopped(outcome) from error
    finally:
        gc.unfreeze()
        on_partition.reset(token)
    return outcome


def _runs(
    outcome: Outcome, asset: Asset, left: Sequence[str], instance: dg.DagsterInstance, config: Mapping[str, Any]
) -> Generator[Sequence[str], None, None]:
    """The runs that make what is `left`, divided with other backfills of this home; what those make, they record."""
    accompanied = False

    def choose(workers: Counter[str]) -> Sequence[str]:
        nonlocal accompanied, left
        if accompanied := accompanied or bool(workers):
            recorded = dagster_private.recorded(instance, asset.key)
            made = set(_proven(asset, [key for key in left if key in recorded or workers[key]], instance, config))
            _keep(outcome, [key for key in left if key in made])
            left = [key for key in left if key not in made]
        return share(left, workers, lambda keys: asset.runs(keys, instance)) if left else []

    storage: Storage = graph().resources["storage"]
    with closing(Division(storage.vault.state / "backfills", asset.name)) as division:
        while run := left and division.take(choose):
            yield run
            left = [key for key in left if key not in set(run)]


def _keep(outcome: Outcome, keys: Sequence[str]) -> None:
    """Take note of partitions that need no run."""
    outcome.unchanged += keys
    if observe := on_partition.get():
        for key in keys:
            observe(key)


def _make(
    outcome: Outcome, asset: Asset, run: Sequence[str], instance: dg.DagsterInstance, run_config: Mapping[str, Any]
) -> str:
    """One run; its id."""
    job = dagster_private.job_of_all(definitions())
    with _stoppable(instance) as run_id:
        result = job.execute_in_process(
            run_config=run_config,
            instance=instance,
            run_id=run_id,
            asset_selection=[asset.key],
            partition_key=run[0] if len(run) == 1 else None,
            tags=of_this_process() | (run_tags(run) if len(run) > 1 else {}),
            raise_on_error=False,
        )
        stopped = _was_stopped(result)
        _collect(outcome, run, result, instance, stopped)
        _collect_checks(outcome, asset, run, result)
        if stopped:
            raise KeyboardInterrupt
    return run_id


@contextmanager
def _stoppable(instance: dg.DagsterInstance) -> Iterator[str]:
    """The id of a run, which is recorded as canceled if it is stopped: Dagster takes it for a failure."""
    run_id = str(uuid4())

    def cancel() -> None:
        dagster_private.cancel(instance, run_id, "Interrupted: what was finished stays.")

    interrupts.last_words.append(cancel)
    try:
        yield run_id
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        cancel()
        raise
    finally:
        interrupts.last_words.remove(cancel)


def _was_stopped(result: dg.ExecuteInProcessResult) -> bool:
    """Dagster drops a signal that comes while it is at its own work."""
    return interrupts.asked() or dagster_private.was_interrupted(result)


def _check_the_rest(
    outcome: Outcome, asset: Asset, instance: dg.DagsterInstance, loggers: Mapping[str, Any], checked: Collection[str]
) -> None:
    """Run the checks that no run of `checked`, nor any before, has come to, of the partitions that are current."""
    current = {*outcome.built, *outcome.unchanged}
    rest = {check: keys & current or keys & {ALL} for check, keys in unchecked(asset, instance, checked).items()}
    every = {key for keys in rest.values() for key in keys}
    for run in [*asset.runs(every, instance), *([[ALL]] if ALL in every else [])]:
        due = [check for check, keys in rest.items() if keys & set(run)]
        with _stoppable(instance) as run_id:
            result = run_checks(due, run if run != [ALL] else [], instance, loggers, run_id)
            _collect_checks(outcome, asset, run, result)
            if _was_stopped(result):
                raise KeyboardInterrupt
        outcome.checked += run
        _tidy()


def _tidy() -> None:
    """Free what the last run held.

    Dagster's jobs and steps refer to each other in cycles, and to what went through them: upstream tables, pictures,
    events. Python meets such cycles by chance, after hundreds of MB.
    """
    gc.collect()


def accepts(asset: Asset, config: Mapping[str, Any]) -> bool:
    """Whether the asset's run configuration has all of these settings."""
    return set(config) <= settings_of(asset)


def settings_of(asset: Asset) -> set[str]:
    """Names of the settings that the asset's run configuration has."""
    return set(dagster_private.config_fields(asset.definition))


def _proven(
    asset: Asset, partitions: Sequence[str], instance: dg.DagsterInstance, config: Mapping[str, Any]
) -> list[str]:
    """Those that a run would find unchanged."""
    if config.get("force"):
        return []
    prospects = Prospects(graph(), instance, config={asset.key: config})
    return [key for key in partitions if _is_proven(prospects.of(asset, key))]


def _is_proven(prospect: Prospect) -> bool:
    if prospect.verdict is not Verdict.KEEP or prospect.recipe is None:
        return False
    artifact = prospect.asset.artifact(prospect.partition)
    return artifact.vault.proven(artifact.location, prospect.recipe) is not None


def _collect(
    outcome: Outcome,
    run: Sequence[str],
    result: dg.ExecuteInProcessResult,
    instance: dg.DagsterInstance,
    stopped: bool,
) -> None:
    # what a failed step finished is in the log alone: its events never reach the result
    made = dagster_private.materializations(instance, result.run_id)
    states = {key: materialization.metadata["state"].value for key, materialization in made.items()}
    failures = dagster_private.step_failures(result)
    reasons = {key: str(value) for failure in failures for key, value in failure.metadata.items()}
    unexpected = one_line(failures[0].error) if failures else "the run ended early"
    for key in run:
        if key not in states:
            if not stopped or key in reasons:
                outcome.failed[key] = reasons.get(key, unexpected)
        elif states[key] == "built":
            outcome.built.append(key)
        else:
            outcome.unchanged.append(key)


def _collect_checks(outcome: Outcome, asset: Asset, run: Sequence[str], result: dg.ExecuteInProcessResult) -> None:
    checks = checks_of(asset.key)
    for evaluation in dagster_private.evaluations(result):
        if evaluation.partition is None and is_partitioned(checks[evaluation.asset_check_key]):
            continue  # the finding on a whole run, after those on its partitions
        name = f"{evaluation.check_name} of {evaluation.partition or ALL}"
        outcome.failed_checks.pop(name, None)
        if not evaluation.passed:
            outcome.failed_checks[name] = f"{evaluation.severity.value.lower()}: {evaluation.description or 'failed'}"
    ops = {definition.op.name: check.name for check, definition in checks.items()}
    where = run[0] if len(run) == 1 else f"{run[0]}..{run[-1]}"
    for failure in dagster_private.step_failures(result):
        if failure.step in ops and not failure.interrupted:
            outcome.failed_checks[f"{ops[failure.step]} of {where}"] = f"error: {one_line(failure.error)}"

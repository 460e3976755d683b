"""The private parts of Dagster that we use.

What fails here, a version of Dagster has dropped or changed; the test says what no longer works for users.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imgassets.io import dagster_private
from imgassets.io.dagster_private import CheckRecord, CheckRunHealthResult, LaunchRunContext, WorkerStatus

SPLITS = dg.StaticPartitionsDefinition(["val", "train"])
RAW, MADE, LAST = dg.AssetKey(["set", "raw"]), dg.AssetKey(["set", "made"]), dg.AssetKey(["set", "last"])
JUDGED, BROKEN = dg.AssetCheckKey(MADE, "judged"), dg.AssetCheckKey(LAST, "broken")


class Keeper(dg.IOManager):
    """Does with a run's contexts what our IO managers do."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        assert dagster_private.instance_of(context).get_dynamic_partitions("none") == []
        if context.has_asset_partitions:
            for key in context.asset_partition_keys:
                dagster_private.add_partition_metadata(context, key, {"state": f"{key} {obj}"})
        dagster_private.set_data_version(context, "version")

    def load_input(self, context: dg.InputContext) -> str:
        assert dagster_private.instance_of(context).get_dynamic_partitions("none") == []
        return "read"


class Settings(dg.Config):
    force: bool = False


@dg.asset(key=RAW, io_manager_key="keeper", partitions_def=SPLITS)
def raw() -> str:
    return "raw"


@dg.asset(
    key=MADE,
    io_manager_key="keeper",
    partitions_def=SPLITS,
    ins={"above": dg.AssetIn(key=RAW)},
    backfill_policy=dg.BackfillPolicy.multi_run(7),
)
def made(config: Settings, above: str) -> str:
    return above


@dg.asset(key=LAST, io_manager_key="keeper", partitions_def=SPLITS, backfill_policy=dg.BackfillPolicy.single_run())
def last() -> str:
    try:
        raise KeyError("the first")
    except KeyError as error:
        raise ValueError("the second") from error


@dg.asset_check(asset=MADE, additional_ins={"above": dg.AssetIn(key=RAW)}, blocking=False)
def judged(above: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=above == "read", description=above)


@dg.asset_check(asset=LAST)
def broken() -> dg.AssetCheckResult:
    raise KeyError("no verdict")


@dg.asset(key=["set", "on_purpose"], io_manager_key="keeper")
def on_purpose() -> None:
    raise dg.Failure("on purpose", metadata={"val": "its reason"}, allow_retries=False)


@pytest.fixture(scope="module")
def declared() -> dg.Definitions:
    assets = [last, made, raw, on_purpose, dg.AssetSpec("outside")]
    return dg.Definitions(assets, asset_checks=[judged, broken], resources={"keeper": Keeper()})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made_up:
        yield made_up


def run(declared: dg.Definitions, instance: dg.DagsterInstance, key: dg.AssetKey, **settings: Any) -> Any:
    job = dagster_private.job_of_all(declared)
    return job.execute_in_process(instance=instance, asset_selection=[key], raise_on_error=False, **settings)


def test_a_run_over_a_range_records_each_partition(declared: dg.Definitions, instance: dg.DagsterInstance) -> None:
    """Without it: `path`, `bytes` and `checksum` of single partitions, their data versions, dynamic partitions."""
    tags = {"dagster/asset_partition_range_start": "val", "dagster/asset_partition_range_end": "train"}
    result = run(declared, instance, MADE, tags=tags)
    assert result.success
    found = dagster_private.materializations(instance, result.run_id)
    assert {key: one.metadata["state"].value for key, one in found.items()} == {
        "val": "val read",
        "train": "train read",
    }
    event = instance.get_latest_materialization_event(MADE)
    assert event is not None
    assert event.asset_materialization is not None
    tags = dagster_private.data_version_tag("version")
    assert tags.items() <= dict(event.asset_materialization.tags or {}).items()
    assert dagster_private.recorded(instance, MADE) == {"val", "train"}
    assert dagster_private.recorded(instance, RAW) == set()


def test_a_version_told_by_hand_is_the_one_that_dagster_compares(instance: dg.DagsterInstance) -> None:
    """Without it: partitions that a failed run had finished look out of date."""
    tags = dagster_private.data_version_tag("told")
    instance.report_runless_asset_event(dg.AssetMaterialization(RAW, partition="val", tags=tags))
    record = instance.get_latest_data_version_record(RAW)
    assert record is not None
    assert record.asset_materialization is not None
    assert record.asset_materialization.tags == tags


def test_bodies_and_settings_of_assets_and_checks() -> None:
    """Without it: plans, traces, `verify`, and `--set` with a wrong value."""
    assert dagster_private.body(made)(config=Settings(), above="x") == "x"
    verdict = dagster_private.body(judged)(above="read")
    assert verdict.passed
    assert dagster_private.config_fields(made) == {"force"}
    assert dagster_private.config_fields(raw) == set()


def test_what_assets_are_made_from(declared: dg.Definitions) -> None:
    """Without it: there is no graph, and no command."""
    assert dagster_private.inputs(made) == {"above": RAW}
    assert dagster_private.inputs(judged)["above"] == RAW
    assert dagster_private.io_manager_key(made, MADE) == "keeper"
    assert [dagster_private.largest_run(asset) for asset in (raw, made, last)] == [1, 7, None]
    repository = dagster_private.repository_of(declared)
    order = [key for key, _ in dagster_private.executable(repository)]
    assert set(order) == {RAW, MADE, LAST, on_purpose.key}
    assert order.index(RAW) < order.index(MADE)
    assert "keeper" in dagster_private.resource_definitions(repository)


def test_selections(declared: dg.Definitions) -> None:
    """Without it: `imgassets backfill '+set/made'`."""
    dagster_private.validate(declared)
    assert dagster_private.selected(declared, '+key:"set/made"') == {RAW, MADE}
    assert dagster_private.materializable(declared) == {RAW, MADE, LAST, on_purpose.key}
    twice = dg.Definitions([raw, dg.AssetSpec(RAW)])
    with pytest.raises(dg.DagsterInvalidDefinitionError):
        dagster_private.validate(twice)


def test_checks_are_run_alone_and_recorded(declared: dg.Definitions, instance: dg.DagsterInstance) -> None:
    """Without it: `imgassets backfill` does not come back to checks that a killed run left out."""
    assert dagster_private.check_records(instance, [JUDGED]) == []
    result = dagster_private.job_of_checks(declared, [JUDGED]).execute_in_process(instance=instance)
    (verdict,) = dagster_private.evaluations(result)
    assert (verdict.asset_check_key, verdict.passed, verdict.description) == (JUDGED, True, "read")
    assert dagster_private.recorded(instance, MADE) == set()
    assert dagster_private.check_records(instance, [JUDGED]) == [CheckRecord(JUDGED, None, result.run_id, False)]
    job = dagster_private.job_of_checks(declared, [BROKEN])
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert dagster_private.check_records(instance, [BROKEN]) == [CheckRecord(BROKEN, None, result.run_id, True)]


def test_how_steps_failed(declared: dg.Definitions, instance: dg.DagsterInstance) -> None:
    """Without it: `imgassets backfill` says that a partition failed, not why; `imgassets status` does not say that."""
    result = run(declared, instance, LAST, partition_key="val")
    (failure,) = dagster_private.step_failures(result)
    assert failure.step == last.op.name
    assert failure.error == "KeyError: 'the first'\n"
    assert failure.metadata == {}
    assert dagster_private.attempts(instance, LAST) == {"val": result.run_id}
    (failure,) = dagster_private.step_failures(run(declared, instance, on_purpose.key))
    assert failure.metadata == {"val": "its reason"}


def test_the_process_of_a_run(declared: dg.Definitions, tmp_path: Path) -> None:
    """Without it: runs that a power cut left at work stay so for ever."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = run(declared, instance, RAW, partition_key="val")
        process = dagster_private.last_process(instance, result.run_id)
        assert process is not None
        assert process[0] == os.getpid()
        assert abs(process[1] - datetime.now(UTC).timestamp()) < 600
        assert dagster_private.last_process(instance, "no-such-run") is None
        assert dagster_private.is_of_one_machine(instance)
        dagster_private.tag_run(instance, result.run_id, {"imgassets/host": "here"})
        found = instance.get_run_by_id(result.run_id)
        assert found is not None
        assert found.tags["imgassets/host"] == "here"


def test_how_runs_are_ended_from_outside(instance: dg.DagsterInstance) -> None:
    """Without it: what was interrupted counts as failed, and runs of dead processes stay at work for ever."""
    status = dg.DagsterRunStatus

    @dg.job
    def job() -> None:
        """Nothing."""

    def run(now: dg.DagsterRunStatus) -> str:
        return instance.create_run_for_job(job, status=now).run_id

    runs = {now: run(now) for now in (status.STARTED, status.CANCELING, status.FAILURE, status.SUCCESS)}
    begun = dagster_private.at_work(instance)
    assert {one.run_id for one in begun} == {runs[status.STARTED], runs[status.CANCELING]}
    for one in begun:
        dagster_private.end(instance, one, "gone")
    for run_id in (runs[status.FAILURE], runs[status.SUCCESS], "no-such-run"):
        dagster_private.cancel(instance, run_id, "stopped")
    after = {now: record.status for now in runs if (record := instance.get_run_by_id(runs[now]))}
    assert after == {
        status.STARTED: status.FAILURE,
        status.CANCELING: status.CANCELED,
        status.FAILURE: status.CANCELED,
        status.SUCCESS: status.SUCCESS,
    }


def test_interruptions_are_told_from_failures(instance: dg.DagsterInstance) -> None:
    """Without it: Ctrl-C in a backfill ends one run of it, and the next ones go on."""

    def ended_by(error: BaseException) -> bool:
        @dg.op
        def work() -> None:
            raise error

        @dg.job
        def job() -> None:
            work()

        return dagster_private.was_interrupted(job.execute_in_process(instance=instance, raise_on_error=False))

    assert ended_by(dg.DagsterExecutionInterruptedError())
    assert not ended_by(ValueError())


def test_a_launcher_knows_its_instance() -> None:
    """Without it: `run_launcher` in dagster.yaml, and with it every run from the UI and the daemon."""
    launcher = dg.DefaultRunLauncher()
    with dg.DagsterInstance.ephemeral() as instance:
        launcher.register_instance(instance)
        assert dagster_private.instance_of_launcher(launcher) is instance
    assert CheckRunHealthResult(WorkerStatus.NOT_FOUND, "gone").msg == "gone"
    assert WorkerStatus.RUNNING is not WorkerStatus.NOT_FOUND
    assert "dagster_run" in LaunchRunContext._fields


@pytest.mark.parametrize("read_only", [False, True])
def test_the_webserver_as_an_application(tmp_path: Path, read_only: bool) -> None:
    """Without it: `imgassets ui`."""
    from starlette.testclient import TestClient

    workspace = tmp_path / "workspace.yaml"
    workspace.write_text("load_from: []\n", encoding="utf-8")
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        dagster_private.web_app(instance, workspace, read_only=read_only) as app,
        TestClient(app) as client,
    ):
        query = {"query": "{ canBulkTerminate version }"}
        answer = client.post("/graphql", json=query).json()["data"]
    assert answer == {"canBulkTerminate": not read_only, "version": dg.__version__}


def test_the_daemon_has_a_command(tmp_path: Path) -> None:
    """Without it: `imgassets ui` has no daemon; schedules, sensors and the queue of runs stand still."""
    command = dagster_private.daemon_command(tmp_path / "workspace.yaml")
    assert command[0] == sys.executable
    told = subprocess.run([*command[:4], "--help"], capture_output=True, text=True, timeout=120, check=True)
    assert "-w, --workspace" in told.stdout


def test_cron_expressions() -> None:
    """Without it: `automation: {cron: ...}`."""
    assert dagster_private.is_cron("0 3 * * *")
    assert not dagster_private.is_cron("every night")
    now = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
    assert dagster_private.last_tick("0 3 * * *", now) == datetime(2024, 5, 6, 3, tzinfo=UTC).timestamp()


def test_components_of_other_folders() -> None:
    """Without it: `Activations` over a folder or a batch set that another defs.yaml declares."""
    asked: list[object] = []

    class Context:
        def load_component(self, path: str, kind: type) -> str:
            asked.extend((path, kind))
            return "found"

    context: Any = Context()
    assert dagster_private.component(context, "mini", dg.Component) == "found"
    assert asked == ["mini", dg.Component]
    assert callable(dg.ComponentLoadContext.load_component)

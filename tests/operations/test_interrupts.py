"""Ctrl-C and SIGTERM: what is in work is taken back, what is finished stays, nothing more begins, nothing failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from imgassets import convert, interrupts
from imgassets.cli import main
from imgassets.commit import Stage
from imgassets.environment import Storage
from imgassets.io import dagster_private
from imgassets.io.arrays import ArraysIOManager
from imgassets.io.artifacts import Build, Builds
from imgassets.operations import verify as verifying
from imgassets.operations.selection import definitions, graph
from imgassets.planning.records import failed, stopped
from imgassets.sample_data import WRITERS
from imgassets.testing.making import folder
from tests.lines import Line
from tests.operations.conftest import BATCHES, CHECKOUT, Home
from tests.operations.interrupted import BEGUN, LAST

ARRAYS = ("backfill", "imagenet64/arrays")


def start(home: Home, mode: str, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.operations.interrupted", mode, *arguments],
        env=os.environ | {"PYTHONPATH": path, "DAGSTER_HOME": str(home.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def stands(home: Home, process: subprocess.Popen[str]) -> None:
    """Wait until it does."""
    for _ in range(600):
        if (home.path / BEGUN).exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("it never came to its partition")


def settled(home: Home, count: int) -> None:
    """`count` partitions are there, none failed or is at work, and the next backfill makes the others."""
    (arrays,) = home.json("status", "imagenet64/arrays")
    assert (arrays["current"], arrays["failed"], arrays["missing"]) == (count, 0, len(BATCHES) - count)
    with dg.DagsterInstance.get() as instance:
        assert dagster_private.at_work(instance) == []
        asset = graph().assets[dg.AssetKey(["imagenet64", "arrays"])]
        assert failed(asset, instance) == []
        assert len(dagster_private.recorded(instance, asset.key)) == count
    assert len(home.built("imagenet64/arrays")) == len(BATCHES) - count
    assert not list(home.store.rglob(".*.stage"))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_backfill_ends_in_order(home: Home, number: signal.Signals) -> None:
    home.run("backfill", "imagenet64/npz_index")
    process = start(home, "sleep", *ARRAYS)
    stands(home, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == interrupts.CODE, (out, err)
    assert "2 built, 0 unchanged, 0 failed, 9 left" in err
    assert err.splitlines()[-1] == "Interrupted; what is finished stays. To go on: imgassets backfill imagenet64/arrays"
    assert not list(home.store.rglob(".*.stage"))
    settled(home, 2)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hang", "again"])
def test_what_does_not_hear_is_ended(home: Home, mode: str) -> None:
    home.run("backfill", "imagenet64/npz_index")
    process = start(home, mode, *ARRAYS)
    stands(home, process)
    process.send_signal(signal.SIGINT)
    if mode == "again":
        time.sleep(3 * interrupts.ECHO)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == interrupts.CODE
    assert "takes back what was begun" in err
    with dg.DagsterInstance.get() as instance:
        asset = graph().assets[dg.AssetKey(["imagenet64", "arrays"])]
        assert LAST in stopped(asset, instance)
    # two are in the vault, and not recorded: their run came to no end
    assert len(home.built("imagenet64/arrays")) == len(BATCHES) - 2
    settled(home, len(BATCHES))


def test_a_signal_that_dagster_drops_is_heard(home: Home) -> None:
    process = start(home, "bookkeeping", "backfill", "imagenet64/*", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == interrupts.CODE, (out, err)
    (only,) = json.loads(out)
    assert only["asset"] == "imagenet64/npz_index"
    assert not only["failed"]


@pytest.mark.slow
def test_a_run_whose_process_was_killed_is_ended_by_the_next_command(home: Home) -> None:
    home.run("backfill", "imagenet64/npz_index")
    process = start(home, "sleep", *ARRAYS)
    stands(home, process)
    process.kill()
    process.communicate()
    with dg.DagsterInstance.get() as instance:
        (run,) = dagster_private.at_work(instance)
        home.run("status", "imagenet64/arrays", code=1)
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.FAILURE
        assert ended.tags["dagster/max_retries"] == "0"  # the daemon could not
        (event,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        assert f"its process {process.pid} is gone" in str(event.user_message or event.message)


class Asked(KeyboardInterrupt):
    """Of these tests."""


def test_verify_keeps_what_it_found(made: Home) -> None:
    name = "images.npy"
    (made.store / "arrays" / BATCHES[0] / name).write_bytes(b"")

    def stop(partition: str) -> None:
        if partition.endswith(BATCHES[1]):
            raise Asked

    with dg.DagsterInstance.get() as instance:
        asset = graph().assets[dg.AssetKey(["imagenet64", "arrays"])]
        with pytest.raises(Asked):
            verifying.verify([(asset, BATCHES)], instance, observe=stop)
        assert [(found.partition, found.kind) for found in verifying.noted()] == [(BATCHES[0], "bytes")]


def test_half_of_the_sample_data_does_not_pass_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(raw: Path) -> None:
        (raw / "imagenet64").mkdir()
        (raw / "imagenet64" / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setitem(WRITERS, "imagenet64", half)
    done = CliRunner().invoke(main, ["sample-data", str(tmp_path / "raw"), "--dataset", "imagenet64"])
    assert done.exit_code == interrupts.CODE
    assert "To go on: " in done.stderr.splitlines()[-1]
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_conversion_takes_back_what_it_began_before_it_is_terminated(tmp_path: Path) -> None:
    source = folder(tmp_path / "data")

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Dagster may have set another one in this process
        sink = Stage.create

        def stop(self: Stage, name: str) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return sink(self, name)

        Stage.create = stop  # type: ignore[method-assign]
        convert(source, tmp_path / "out" / "store")

    process = get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGTERM
    assert not list((tmp_path / "out").iterdir())


def interrupting(storage: Storage, between: Callable[[dg.DagsterInstance], None]) -> Any:
    """A run over two partitions, the second of which is interrupted; its result, and what is recorded."""

    @dg.asset(
        name="made",
        partitions_def=dg.StaticPartitionsDefinition(["one", "two"]),
        io_manager_key="io",
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def made() -> Builds:
        def content(key: str) -> str:
            if key == "two":
                between(instance)
                raise dg.DagsterExecutionInterruptedError
            return key

        return Builds(lambda key: Build(lambda: content(key), config={"key": key}))

    tags = {"dagster/asset_partition_range_start": "one", "dagster/asset_partition_range_end": "two"}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [made], resources={"io": Line(storage=storage)}, instance=instance, tags=tags, raise_on_error=False
        )
        run = instance.get_run_by_id(result.run_id)
        return run, result, dagster_private.recorded(instance, dg.AssetKey("made"))


def test_a_run_that_the_ui_terminates_says_where(tmp_path: Path) -> None:
    def terminate(instance: dg.DagsterInstance) -> None:
        (run,) = instance.get_runs()
        instance.report_run_canceling(run)

    storage = Storage(raw=str(tmp_path / "raw"), store=str(tmp_path / "store"), state=str(tmp_path / "state"))
    run, result, recorded = interrupting(storage, terminate)
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert recorded == {"one"}
    (failure,) = dagster_private.step_failures(result)
    assert failure.interrupted
    assert "Interrupted at made/two: 1 of 2 partitions are finished, and stay." in failure.error


def test_the_full_mode_stops_with_its_stage(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setattr(ArraysIOManager, "write", stop)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.get() as instance:
        result = (
            definitions()
            .resolve_job_def("full")
            .execute_in_process(instance=instance, run_config=quiet, raise_on_error=False)
        )
        assert not result.success
        tried = [run.asset_selection for run in instance.get_runs() if run.asset_selection]
    assert {key.to_user_string() for some in tried for key in some} == {"imagenet64/npz_index", "imagenet64/arrays"}
    assert sum(dg.AssetKey(["imagenet64", "arrays"]) in some for some in tried) == 1

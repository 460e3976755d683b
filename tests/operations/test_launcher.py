"""Whether a run's process lives, told from what its events say of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
from dagster._core.launcher import WorkerStatus

from imgassets.operations.launcher import HOST_TAG, LocalRunLauncher, lives, this_host
from tests.operations.conftest import CHECKOUT


def test_lives() -> None:
    now = time.time()
    assert lives(os.getpid(), now)
    assert not lives(os.getpid(), now - 7 * 86400)  # this process has got the number of another one
    child = subprocess.Popen([sys.executable, "-c", ""])
    time.sleep(0.5)
    assert not lives(child.pid, now)  # it has ended, and nobody has asked how
    child.wait()
    assert not lives(child.pid, now)
    assert lives(1, now)


@dg.asset
def something() -> None:
    """A run of this is made up below."""


def test_health_of_a_run(tmp_path: Path) -> None:
    settings = (CHECKOUT / "dagster_home" / "dagster.yaml").read_text(encoding="utf-8")
    (tmp_path / "dagster.yaml").write_text(settings, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, LocalRunLauncher)
        result = dg.materialize([something], instance=instance)
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING  # it was this process
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        instance.report_engine_event("Started process for run", run, dg_engine_event(child.pid))
        found = launcher.check_run_worker_health(run)
        assert found.status is WorkerStatus.NOT_FOUND
        assert str(child.pid) in str(found.msg)
        away = run.with_tags({**run.tags, HOST_TAG: "elsewhere"})
        assert launcher.check_run_worker_health(away).status is WorkerStatus.RUNNING  # out of sight
        here = run.with_tags({**run.tags, **this_host()})
        assert launcher.check_run_worker_health(here).status is WorkerStatus.NOT_FOUND


def dg_engine_event(pid: int) -> object:
    """What a run's process says of itself when it starts."""
    from dagster._core.events import EngineEventData

    return EngineEventData({"pid": dg.MetadataValue.text(str(pid))})

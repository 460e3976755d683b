"""Dagster's own launcher of runs, which can also tell whether a run's process still lives.

Without that, runs that a power cut or a killed machine left STARTED stay so for ever: the process that would have said
how they ended is gone, and so is the one that had started it. The monitoring daemon asks here, marks such runs as
failed, and has them tried again.
"""

import os
import socket
import time
from pathlib import Path

import dagster as dg

from imgassets.io import dagster_private
from imgassets.io.dagster_private import CheckRunHealthResult, LaunchRunContext, WorkerStatus

HOST_TAG = "imgassets/host"
"""Tag of a run that names the host of its process."""
RETRIES_TAG = "dagster/max_retries"
SLACK = 2.0
"""Seconds by which clocks of events and of processes may differ."""


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Runs as processes of this machine, as Dagster's default does."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Also records where: hosts that share a database cannot see each other's processes."""
        dagster_private.tag_run(dagster_private.instance_of_launcher(self), context.dagster_run.run_id, this_host())
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process is still there, where we can see it."""
        reason = gone(run, dagster_private.instance_of_launcher(self))
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND if reason else WorkerStatus.RUNNING, reason)


def gone(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str | None:
    """Why a run cannot be at work: the process that its events name last is not the one that wrote them any more.

    None where it is, where we cannot see it, or where no event names one yet.
    """
    if not _here(run, instance):
        return None
    process = dagster_private.last_process(instance, run.run_id)
    return None if process is None or lives(*process) else f"its process {process[0]} is gone"


def _here(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    if HOST_TAG not in run.tags:  # Dagster's own command line began it; SQLite's files are of one machine
        return dagster_private.is_of_one_machine(instance)
    return this_host().items() <= run.tags.items()


def this_host() -> dict[str, str]:
    """The tag of a run whose process is on this host."""
    return {HOST_TAG: socket.gethostname()}


def of_this_process() -> dict[str, str]:
    """Tags of a run in this process: the daemon cannot begin it again, and says so with a traceback if it is to."""
    return this_host() | {RETRIES_TAG: "0"}


def end_gone(instance: dg.DagsterInstance) -> list[str]:
    """End the runs whose process is gone, as the daemon would, where one runs; returns their ids."""
    ended = []
    for run in dagster_private.at_work(instance):
        if reason := gone(run, instance):
            dagster_private.end(instance, run, f"The run did not end by itself: {reason}. What it finished stays.")
            ended.append(run.run_id)
    return ended


def lives(pid: int, seen: float) -> bool:
    """Whether the process `pid` that was at work at the time `seen` (seconds since 1970) still is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:  # no Linux, or gone in this moment
        return True
    begun = time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return fields[0] != "Z" and begun <= seen + SLACK  # else the number has gone to another process

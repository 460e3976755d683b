"""The real webserver and daemon on a DAGSTER_HOME of their own, and their GraphQL API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

CHECKOUT = Path(__file__).parents[2]
DAEMON = """
from dagster._daemon import controller
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
from dagster._daemon.cli import main
main()
"""
"""The daemon as it is, but looking for backfills every 2 s instead of every 30: no flag says so."""


@dataclass(frozen=True)
class Dagster:
    """Both processes, running."""

    home: Path
    port: int
    processes: tuple[subprocess.Popen[bytes], ...]

    def query(self, text: str, **variables: Any) -> Any:
        """`data` of a GraphQL query; AssertionError with the server's words if it has errors."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": text, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                answer = json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def log(self) -> str:
        """What both processes have printed."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.home.glob("*.log")))

    def wait(self, what: str, ready: Callable[[], Any], deadline: float = 240) -> Any:
        """The first true value of `ready`, asked twice a second; AssertionError with the logs after `deadline` s."""
        end = time.monotonic() + deadline
        while True:
            if value := ready():
                return value
            assert all(process.poll() is None for process in self.processes), f"one has died:\n{self.log()[-8000:]}"
            assert time.monotonic() < end, f"{what} did not come in {deadline} s:\n{self.log()[-8000:]}"
            time.sleep(0.5)


@contextmanager
def dagster(
    home: Path, raw: Path, workspace: Path = CHECKOUT / "workspace.yaml", monitoring: int = 120, daemons: int = 1
) -> Iterator[Dagster]:
    """Start webserver and daemon as `make ui` does, and end both with everything they started.

    The daemon looks for runs whose process has died every `monitoring` seconds.
    """
    home.mkdir(parents=True, exist_ok=True)
    settings = (CHECKOUT / "dagster_home" / "dagster.yaml").read_text(encoding="utf-8")
    poll = f"run_monitoring:\n  poll_interval_seconds: {monitoring}\n"
    (home / "dagster.yaml").write_text(settings.replace("run_monitoring:\n", poll), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)):
        pass  # two processes that both make the databases get into each other's way; `dagster dev` does this too
    environment = environment_of(home, raw)
    port = _free_port()
    where = ["-w", str(workspace)]
    commands = {
        "webserver": ["-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *where],
        **{f"daemon{number}": ["-c", DAEMON, "run", *where] for number in range(daemons)},
    }
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_running([sys.executable, *command], environment, home / f"{name}.log"))
            for name, command in commands.items()
        ]
        running = Dagster(home, port, tuple(processes))
        running.wait("the webserver", lambda: _listens(port))
        running.wait("the code location", lambda: _loaded(running))
        yield running


def environment_of(home: Path, raw: Path) -> dict[str, str]:
    """Environment of a command on this home and this package."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "IMGASSETS"))}
    path = os.pathsep.join(filter(None, (str(CHECKOUT), environment.get("PYTHONPATH"))))
    return environment | {"DAGSTER_HOME": str(home), "IMGASSETS_RAW": str(raw), "PYTHONPATH": path}


@contextmanager
def _running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=CHECKOUT, stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield process
        finally:
            for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, kind)
                    process.wait(15)
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _loaded(running: Dagster) -> bool:
    found = running.query(
        "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {"
        " __typename ... on PythonError { message } } } } } }"
    )["workspaceOrError"]["locationEntries"]
    (entry,) = found
    assert entry["name"] == "imgassets"
    assert (entry["locationOrLoadError"] or {}).get("__typename") != "PythonError", entry
    return bool(entry["loadStatus"] == "LOADED")

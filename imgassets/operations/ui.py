"""Webserver and daemon as one command, on loopback, behind the guard."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from imgassets.environment import FOLDERS, dagster_home
from imgassets.errors import StoreError
from imgassets.io import dagster_private
from imgassets.operations.guard import LOOPBACK, Guard
from imgassets.operations.records import records
from imgassets.projects import Project

HOST = "127.0.0.1"
DIES_WITH_PARENT = 1
"""`linux/prctl.h`: PR_SET_PDEATHSIG."""
PATIENCE = 10.0
"""Seconds the daemon gets to end by itself."""


def serve(port: int, *, read_only: bool = False, hosts: Sequence[str] = ()) -> None:
    """Serve the UI on 127.0.0.1 until interrupted.

    Args:
        read_only: nothing can be started or changed, and no daemon runs.
        hosts: further host names to answer to.

    Raises:
        StoreError: the port is taken, another one looks after this home, or its database cannot be read.
    """
    import uvicorn

    from imgassets.operations.connections import PunctualProtocol

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((HOST, port))
        except OSError as error:
            raise StoreError(
                f"Port {port} of {HOST} is taken: stop what uses it, or name another with --port."
            ) from error
        with (
            nullcontext() if read_only else only_one(dagster_home()),
            TemporaryDirectory(prefix="imgassets-ui-") as folder,
            records() as instance,
            dagster_private.web_app(instance, workspace := _workspace(folder), read_only=read_only) as app,
        ):
            guarded = Guard(app, {*LOOPBACK, *hosts})
            config = uvicorn.Config(guarded, http=PunctualProtocol, log_level="warning", lifespan="on")
            server = uvicorn.Server(config)
            sys.stderr.write(f"http://{HOST}:{port}{' (read only)' if read_only else ''}\n")
            with suppress(KeyboardInterrupt):
                if read_only:
                    server.run([taken])
                else:
                    with _daemon(server, workspace):
                        server.run([taken])


def _workspace(folder: str) -> Path:
    path = Path(folder, "workspace.yaml")
    project = Project.current()
    # as in workspace.yaml, which an installed package does not have: schedules and sensors are known by location
    module = {"module_name": f"{project.package}.definitions", "location_name": project.package}
    if not project.is_bundled:
        module["working_directory"] = str(project.root)
    path.write_text(json.dumps({"load_from": [{"python_module": module}]}), encoding="utf-8")
    return path


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """The right to run the daemon of a home: two take each other's runs for dead, and may start one twice.

    Raises:
        StoreError: another process has it.
    """
    path = home / FOLDERS[2] / "daemon.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StoreError(
                f"Process {file.read().strip()} looks after {home} already: open its UI, or add --read-only here."
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _daemon(server: object, workspace: Path) -> Iterator[None]:
    """Dagster's daemon beside the webserver. They end together: a UI without its daemon queues for ever."""
    process = subprocess.Popen(dagster_private.daemon_command(workspace), preexec_fn=_die_with_parent)
    ending = threading.Event()

    def watch() -> None:
        code = process.wait()
        if not ending.is_set():
            sys.stderr.write(f"The daemon ended with exit code {code}; see above. The UI ends with it.\n")
            server.should_exit = True  # type: ignore[attr-defined]

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ending.set()
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


def _die_with_parent() -> None:
    with suppress(AttributeError, OSError):  # elsewhere than on Linux a killed UI leaves its daemon
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGTERM)

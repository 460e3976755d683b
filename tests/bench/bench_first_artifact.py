"""How long a newcomer waits: from `git clone` to the first artifact in the UI, packages being installed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
ASSET, PARTITION = ["imagenet64", "npz_index"], "val_data"
LAUNCH = """
mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
MADE = """
query($k: AssetKeyInput!) { assetNodeOrError(assetKey: $k) { ... on AssetNode { assetMaterializations(limit: 1) {
  partition } } } }
"""


def ask(address: str, query: str, **variables: Any) -> Any:
    """`data` of a GraphQL query, as the page in the browser asks it."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        return json.loads(reply.read())["data"]


def loaded(address: str) -> bool:
    """Whether the graph is there to be looked at."""
    query = "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }"
    try:
        entries = ask(address, query)["workspaceOrError"]["locationEntries"]
    except OSError:
        return False
    return [entry["loadStatus"] for entry in entries] == ["LOADED"]


def made(address: str) -> bool:
    """Whether the artifact is."""
    return bool(ask(address, MADE, k={"path": ASSET})["assetNodeOrError"]["assetMaterializations"])


def main() -> None:
    """Print one table."""
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "imgassets"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("IMGASSETS", "DAGSTER"))}
        environment = kept | {"PYTHONPATH": str(clone), "DAGSTER_HOME": str(clone / "dagster_home")}
        command = [sys.executable, "-c", "from imgassets.cli import main; main()"]
        steps, started = [], time.monotonic()

        def step(what: str) -> None:
            steps.append((what, time.monotonic() - started))

        subprocess.run(["git", "clone", "-q", str(CHECKOUT), str(clone)], check=True)
        step("git clone")
        subprocess.run([*command, "sample-data"], env=environment, cwd=clone, check=True, capture_output=True)
        step("imgassets sample-data")
        ui = subprocess.Popen(
            [*command, "ui", "--port", str(port)],
            env=environment,
            cwd=clone,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not loaded(address):
                time.sleep(0.2)
            step("imgassets ui: the graph is there")
            selector = {
                "repositoryLocationName": "imgassets",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": ASSET}],
                "assetCheckSelection": [],
            }
            tags = [{"key": "dagster/partition", "value": PARTITION}]
            params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
            launched = ask(address, LAUNCH, p=params)["launchPipelineExecution"]
            if launched["__typename"] != "LaunchRunSuccess":
                raise SystemExit(f"the run was not launched: {launched}")
            while not made(address):
                time.sleep(0.2)
            step("Materialize: the first artifact is there")
        finally:
            ui.send_signal(signal.SIGTERM)
            ui.wait(60)
        for what, seconds in steps:
            sys.stdout.write(f"{what:44}{seconds:6.1f} s\n")


if __name__ == "__main__":
    main()

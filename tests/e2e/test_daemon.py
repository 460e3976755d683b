"""What the daemon does by itself: sensors that find new inputs, and runs that a crash of everything left STARTED."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.components.imagenet import rows, save_npz
from tests.e2e.dagster_processes import Dagster, dagster
from tests.e2e.test_scale import partitions
from tests.e2e.test_webserver import LAUNCH

pytestmark = pytest.mark.slow
AUTOMATED = '''
"""A dataset that makes itself, looked at every two seconds."""
import dagster as dg

from imgassets import definitions
from imgassets.components import NpzImages, automation

automation.EVERY = 2
dataset = NpzImages(
    name="images", train_batches=[1, 2], resolution=16, csv_size_gb=1e-4, stores=[], automation="missing"
)
defs = dg.Definitions.merge(
    dg.build_defs_for_component(dataset), dg.Definitions(executor=dg.in_process_executor)
)
'''
CRASHING = '''
"""Six files in one run; the fourth waits for ever when it is made for the first time."""
import os
import time
import warnings
from pathlib import Path

import dagster as dg

warnings.filterwarnings("ignore")
from imgassets.io.artifacts import Build, Builds
from imgassets.environment import Storage
from tests.lines import Line


@dg.asset(
    partitions_def=dg.StaticPartitionsDefinition(list("abcdef")),
    backfill_policy=dg.BackfillPolicy.multi_run(6),
    io_manager_key="line_io",
)
def lines(storage: Storage) -> Builds:
    def content(key):
        mark = Path(os.environ["DAGSTER_HOME"], "waiting")
        if key == "d" and not mark.exists():
            mark.write_text(str(os.getpid()))
            time.sleep(3600)
        return key

    return Builds(lambda key: Build(lambda: content(key), config={"key": key}))


storage = Storage()
defs = dg.Definitions(
    [lines], resources={"storage": storage, "line_io": Line(storage=storage)}, executor=dg.in_process_executor
)
'''


def write(folder: Path, location: str) -> Path:
    """A workspace of this code location."""
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "location.py").write_text(location)
    workspace = folder / "workspace.yaml"
    workspace.write_text("load_from: [{python_file: {relative_path: location.py, location_name: imgassets}}]\n")
    return workspace


def descendants(pid: int) -> list[int]:
    """Of a process of ours, all that it and its children have started."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        children = [child for child, its_parent in parents.items() if its_parent == parent]
        found += children
        waiting += children
    return found


def kill_everything(server: Dagster) -> None:
    """As a power cut does: no process gets to say anything."""
    for process in server.processes:
        for pid in [process.pid, *descendants(process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def materialized(server: Dagster, asset: str) -> set[str]:
    return partitions(server, asset)["materializedPartitions"]


def statuses(server: Dagster) -> Counter[str]:
    """How many runs ended how."""
    found = server.query("{ runsOrError(limit: 50) { ... on Runs { results { status } } } }")
    return Counter(run["status"] for run in found["runsOrError"]["results"])


def test_a_dataset_that_makes_itself(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "images"
    raw.mkdir(parents=True)
    batches = ("train_data_batch_1", "train_data_batch_2", "val_data")
    for number, batch in enumerate(batches[:2]):
        save_npz(raw / f"{batch}.npz", **rows(number, 6))
    with dagster(tmp_path / "home", tmp_path / "raw", workspace=write(tmp_path, AUTOMATED)) as server:
        store = server.home / "store" / "images"
        train = set(batches[:2])
        server.wait("the arrays", lambda: materialized(server, "images/arrays") >= train, 300)
        server.wait("the sample", lambda: materialized(server, "images/csv_sample") == {"train"}, 300)
        assert not (store / "npz_index" / "val_data").exists()
        val = raw / "val_data.npz"
        save_npz(val, **rows(9, 6))
        server.wait("the new batch", lambda: materialized(server, "images/csv_sample") == {"train", "val"}, 300)
        before = {path: path.stat().st_mtime_ns for path in store.rglob("*.npy")}
        os.unlink(raw / f"{batches[0]}.npz")
        save_npz(raw / f"{batches[0]}.npz", **rows(77, 6))
        index = store / "npz_index" / batches[0] / "index.parquet"
        was = index.read_bytes()
        server.wait("the changed batch", lambda: index.read_bytes() != was, 300)
        time.sleep(10)  # nothing else is asked for
        assert {path: path.stat().st_mtime_ns for path in store.rglob("*.npy")} == before
        assert set(statuses(server)) == {"SUCCESS"}


def test_a_crash_of_everything_loses_one_partition_at_most(tmp_path: Path) -> None:
    workspace = write(tmp_path, CRASHING)
    home = tmp_path / "home"
    with dagster(home, tmp_path / "raw", workspace=workspace, monitoring=5) as server:
        server.query(LAUNCH, params={"assetSelection": [{"path": ["lines"]}], "partitionNames": list("abcdef")})
        server.wait("the run", (home / "waiting").exists, 300)
        time.sleep(1)
        kill_everything(server)
    store = home / "store" / "lines"
    before = {path.name: path.stat().st_mtime_ns for path in store.iterdir() if path.is_file()}
    assert set(before) == set("abc")
    with dagster(home, tmp_path / "raw", workspace=workspace, monitoring=5) as server:
        server.wait("the recovery", lambda: materialized(server, "lines") == set("abcdef"), 400)
        server.wait("the end", lambda: statuses(server) == {"FAILURE": 1, "SUCCESS": 1}, 120)
    after = {path.name: path.stat().st_mtime_ns for path in store.iterdir() if path.is_file()}
    assert set(after) == set("abcdef")
    assert {name: after[name] for name in before} == before
    assert not list(home.glob("store/**/.*.stage"))


def test_two_daemons_ask_for_nothing_twice(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "images"
    raw.mkdir(parents=True)
    batches = ("train_data_batch_1", "train_data_batch_2", "val_data")
    for number, batch in enumerate(batches):
        save_npz(raw / f"{batch}.npz", **rows(number, 6))
    with dagster(tmp_path / "home", tmp_path / "raw", workspace=write(tmp_path, AUTOMATED), daemons=2) as server:
        server.wait("the sample", lambda: materialized(server, "images/csv_sample") == {"train", "val"}, 400)
        time.sleep(10)
        assert set(statuses(server)) == {"SUCCESS"}
        query = "{ runsOrError(limit: 100) { ... on Runs { results { assetSelection { path } tags { key value } } } } }"
        asked: Counter[str] = Counter()
        for run in server.query(query)["runsOrError"]["results"]:
            tags = {tag["key"]: tag["value"] for tag in run["tags"]}
            ends = [tags[name] for name in sorted(tags) if "partition" in name]
            asked[f"{run['assetSelection']} {ends}"] += 1
        print(asked)
        assert set(asked.values()) == {1}


def test_a_run_that_is_terminated_says_where_and_counts_as_no_failure(tmp_path: Path) -> None:
    workspace = write(tmp_path, CRASHING)
    with dagster(tmp_path / "home", tmp_path / "raw", workspace=workspace) as server:
        server.query(LAUNCH, params={"assetSelection": [{"path": ["lines"]}], "partitionNames": list("abcdef")})
        server.wait("the run", (server.home / "waiting").exists, 300)
        runs = "{ runsOrError(limit: 5) { ... on Runs { results { runId status } } } }"
        (run,) = server.query(runs)["runsOrError"]["results"]
        terminate = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
        server.query(terminate, id=run["runId"])
        server.wait("its end", lambda: statuses(server) == {"CANCELED": 1}, 120)
        query = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
            ... on ExecutionStepFailureEvent { error { message causes { message } } }
            ... on RunCanceledEvent { error { message } } } } } }"""
        told = str(server.query(query, id=run["runId"]))
        assert "Interrupted at lines/d: 3 of 6 partitions are finished, and stay." in told
        assert materialized(server, "lines") == set("abc")
        assert not list(server.home.glob("store/**/.*.stage"))

"""1152 and 5000 partitions through the daemon and the webserver, from a code location of their own."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.dagster_processes import Dagster, dagster
from tests.e2e.test_webserver import BACKFILL, LAUNCH

pytestmark = pytest.mark.slow
MANY, MORE = 1152, 5000
LOCATION = '''
"""Files of one line, made from nothing; some cannot be made while the file `broken` lies in the raw folder."""
import os
import time
import warnings
from pathlib import Path

import dagster as dg

warnings.filterwarnings("ignore")
from imgassets.errors import MissingUpstream
from imgassets.io.artifacts import Build, Builds
from imgassets.environment import Storage
from tests.lines import Line


def lines(name, count, size):
    @dg.asset(
        name=name,
        partitions_def=dg.StaticPartitionsDefinition([f"{i:05d}" for i in range(count)]),
        backfill_policy=dg.BackfillPolicy.multi_run(size),
        io_manager_key="line_io",
    )
    def asset(storage: Storage) -> Builds:
        def build(key):
            if int(key) % 9 == 0 and (storage.raw_root / "broken").exists():
                raise MissingUpstream(f"{key}.raw is not there yet.")
            return Build(lambda: key, config={"key": key})

        return Builds(build)

    return asset


@dg.asset(
    partitions_def=dg.StaticPartitionsDefinition(list("abcdef")),
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    pool="gpu",
)
def pooled(context) -> None:
    log = Path(os.environ["DAGSTER_HOME"], "pooled")
    with open(log, "a") as file:
        file.write(f"+ {context.partition_key}\\n")
    time.sleep(3)
    with open(log, "a") as file:
        file.write(f"- {context.partition_key}\\n")


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a"]), backfill_policy=dg.BackfillPolicy.multi_run(1))
def dies_once(context) -> None:
    mark = Path(os.environ["DAGSTER_HOME"], "died")
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(600)


storage = Storage()
defs = dg.Definitions(
    [lines("many", 1152, 128), lines("more", 5000, 1000), pooled, dies_once],
    resources={"storage": storage, "line_io": Line(storage=storage)},
    executor=dg.in_process_executor,
)
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    folder = tmp_path_factory.mktemp("scale")
    (folder / "raw").mkdir()
    (folder / "location.py").write_text(LOCATION)
    workspace = folder / "workspace.yaml"
    workspace.write_text("load_from: [{python_file: {relative_path: location.py, location_name: imgassets}}]\n")
    with dagster(folder / "home", folder / "raw", workspace=workspace, monitoring=10) as running:
        yield running


def launch(server: Dagster, asset: str, keys: list[str]) -> Any:
    """Run a backfill to its end."""
    params = {"assetSelection": [{"path": [asset]}], "partitionNames": keys}
    launched = server.query(LAUNCH, params=params)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def over() -> Any:
        found = server.query(BACKFILL, id=launched["backfillId"])["partitionBackfillOrError"]
        return None if found["status"] in {"REQUESTED", "CANCELING", "FAILING"} else found

    return server.wait(f"the backfill of {asset}", over, deadline=1500)


def partitions(server: Dagster, asset: str) -> dict[str, set[str]]:
    query = (
        "query($k: AssetKeyInput!) { assetNodeOrError(assetKey: $k) { ... on AssetNode { assetPartitionStatuses {"
        " ... on DefaultPartitionStatuses { materializedPartitions failedPartitions unmaterializedPartitions } } } } }"
    )
    found = server.query(query, k={"path": asset.split("/")})["assetNodeOrError"]["assetPartitionStatuses"]
    return {name: set(keys) for name, keys in found.items()}


def test_1152_partitions_some_failing_then_only_the_missing(server: Dagster) -> None:
    keys = [f"{i:05d}" for i in range(MANY)]
    broken = server.home.parent / "raw" / "broken"
    broken.touch()
    first = launch(server, "many", keys)
    assert first["status"] == "COMPLETED_FAILED"
    assert len(first["runs"]) == 9
    state = partitions(server, "many")
    bad = {key for key in keys if int(key) % 9 == 0}
    assert state["materializedPartitions"] == set(keys) - bad  # every other one is kept
    store = server.home / "store" / "many"
    before = {path.name: path.stat().st_mtime_ns for path in store.iterdir() if path.is_file()}
    assert set(before) == set(keys) - bad
    broken.unlink()
    second = launch(server, "many", sorted(bad))
    assert second["status"] == "COMPLETED_SUCCESS"
    assert partitions(server, "many")["materializedPartitions"] == set(keys)
    after = {path.name: path.stat().st_mtime_ns for path in store.iterdir() if path.is_file()}
    assert {name for name in after if after[name] != before.get(name)} == bad  # only those were made


def test_5000_partitions(server: Dagster) -> None:
    keys = [f"{i:05d}" for i in range(MORE)]
    done = launch(server, "more", keys)
    assert done["status"] == "COMPLETED_SUCCESS"
    assert [run["status"] for run in done["runs"]] == ["SUCCESS"] * 5
    started = time.monotonic()
    assert partitions(server, "more")["materializedPartitions"] == set(keys)
    assert time.monotonic() - started < 30


def test_fifty_clients_at_once(server: Dagster) -> None:
    """After 5,000 partitions were made: nobody is refused. How long they wait depends on the machine."""
    took: list[float] = []

    def ask(_: int) -> int:
        begun = time.monotonic()
        found = partitions(server, "more")
        took.append(time.monotonic() - begun)
        return sum(map(len, found.values()))

    with ThreadPoolExecutor(50) as clients:
        assert set(clients.map(ask, range(300))) == {MORE}
    print(f"95 % of the answers within {sorted(took)[284]:.2f} s")


def test_a_pool_is_enforced(server: Dagster) -> None:
    server.query('mutation { setConcurrencyLimit(concurrencyKey: "gpu", limit: 1) }')
    assert launch(server, "pooled", list("abcdef"))["status"] == "COMPLETED_SUCCESS"
    running = most = 0
    for line in (server.home / "pooled").read_text().splitlines():
        running += 1 if line[0] == "+" else -1
        most = max(most, running)
    assert most == 1


def test_a_run_whose_process_died_is_tried_again(server: Dagster) -> None:
    params = {"assetSelection": [{"path": ["dies_once"]}], "partitionNames": ["a"]}
    server.query(LAUNCH, params=params)
    mark = server.home / "died"
    server.wait("the run", mark.exists, deadline=300)
    time.sleep(1)
    os.kill(int(mark.read_text()), signal.SIGKILL)  # nobody is left to say that it failed
    server.wait("the second try", lambda: partitions(server, "dies_once")["materializedPartitions"] == {"a"}, 600)
    runs = server.query("{ runsOrError(limit: 20) { ... on Runs { results { status assetSelection { path } } } } }")
    states = Counter(
        run["status"] for run in runs["runsOrError"]["results"] if run["assetSelection"] == [{"path": ["dies_once"]}]
    )
    assert states == {"FAILURE": 1, "SUCCESS": 1}

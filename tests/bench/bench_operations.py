"""How much the commands cost beside `import dagster`: an unchanged rerun, a plan, loading the definitions."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
BATCHES = 315
"""Of eleven assets' worth of partitions in one: as many as CT-RATE has train shards."""
LOCATION = '''
"""315 partitions of a few bytes each."""

import dagster as dg

from imgassets import definitions
from imgassets.io.artifacts import Build, Builds, Estimate
from imgassets.environment import Storage
from tests.lines import Line


def lines(name, count):
    @dg.asset(
        name=name,
        partitions_def=dg.StaticPartitionsDefinition([f"{i:05d}" for i in range(count)]),
        backfill_policy=dg.BackfillPolicy.multi_run(128),
        io_manager_key="line_io",
    )
    def asset(storage: Storage) -> Builds:
        return Builds(lambda key: Build(lambda: key, config={"key": key}, estimate=lambda: Estimate(5)))

    return asset


def defs() -> dg.Definitions:
    storage = Storage()
    return dg.Definitions(
        [lines("lines", 315), lines("many", 1152)],
        resources={"storage": storage, "line_io": Line(storage=storage)},
        executor=dg.in_process_executor,
    )


definitions.defs = defs
from imgassets.cli import main

main()
'''


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=CHECKOUT)
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of all that is in a folder."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def main() -> None:
    """Print one table."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "dagster.yaml").write_text((CHECKOUT / "dagster_home" / "dagster.yaml").read_text())
        script = home / "location.py"
        script.write_text(LOCATION)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("IMGASSETS")}
        environment = kept | {"DAGSTER_HOME": name, "PYTHONPATH": str(CHECKOUT)}
        python, ours = sys.executable, [sys.executable, str(script)]
        rows = {"import dagster": measure([python, "-c", "import dagster"], environment)}
        rows["load the definitions"] = measure(
            [python, "-c", "from imgassets.definitions import defs; defs()"], environment
        )
        rows["backfill 315 partitions"] = measure([*ours, "backfill", "lines"], environment)
        before = snapshot(home / "store")
        rows["again, unchanged"] = measure([*ours, "backfill", "lines"], environment)
        written = sum(1 for path, seen in snapshot(home / "store").items() if before.get(path) != seen)
        rows["plan 1152 partitions"] = measure([*ours, "plan", "many", "--json"], environment)
        rows["status of 1467 partitions"] = measure([*ours, "status", "*", "--json"], environment)
        base = rows["import dagster"][1]
        sys.stdout.write(f"{'':28}{'wall s':>8}{'CPU s':>8}{'× import':>10}\n")
        for title, (wall, cpu) in rows.items():
            sys.stdout.write(f"{title:28}{wall:8.2f}{cpu:8.2f}{cpu / base:10.1f}\n")
        sys.stdout.write(f"the unchanged rerun changed {written} names in the vault\n")


if __name__ == "__main__":
    main()

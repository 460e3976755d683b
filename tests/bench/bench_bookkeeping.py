"""What Dagster and the commit protocol cost per partition, where the partitions themselves cost nothing.

One ranged run over 256 partitions of one small file each, on SQLite on a disk; CPU seconds of this process. The goal
is at most 20 ms of CPU for each partition; the same run through an IO manager that writes nothing is Dagster's share.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg

from imgassets.commit import Location, Stage, Written
from imgassets.environment import Storage
from imgassets.io.artifacts import Build, Builds
from imgassets.io.base import ArtifactIOManager

PARTITIONS = 256
GOAL = 0.020


class Small(ArtifactIOManager):
    """One file of a few bytes."""

    format: ClassVar[str] = "small/1"

    def write(self, content: Any, stage: Stage) -> Written:
        with stage.create("text") as sink:
            sink.write(content)
        return Written({"rows": 1})

    def open(self, location: Location) -> Any:
        return location.path / "text"


class Nothing(dg.IOManager):
    """What every run costs without us: metadata for each partition, and no file."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        for key in context.asset_partition_keys:
            metadata = {"rows": 1, "path": dg.MetadataValue.path("x"), "checksum": "0" * 32, "state": "built"}
            context.step_context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)

    def load_input(self, context: dg.InputContext) -> Any:
        raise NotImplementedError


def runs(folder: Path) -> Iterator[tuple[str, float, float]]:
    """Name, CPU and wall seconds of each run."""
    storage = Storage(raw=str(folder / "raw"), store=str(folder / "store"), state=str(folder / "state"))
    keys = [f"part_{number}" for number in range(PARTITIONS)]
    definition = dg.StaticPartitionsDefinition(keys)
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}

    @dg.asset(partitions_def=definition, io_manager_key="io", backfill_policy=dg.BackfillPolicy.single_run())
    def made() -> Builds:
        return Builds(lambda key: Build(lambda: key.encode(), config={"key": key}))

    (folder / "home").mkdir()
    overrides = {"telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(folder / "home"), overrides=overrides) as instance:
        for name, manager in (
            ("Dagster alone", Nothing()),
            ("first run", Small(storage=storage)),
            ("unchanged rerun", Small(storage=storage)),
        ):
            before = times(folder / "store")
            cpu, wall = time.process_time(), time.monotonic()
            result = dg.materialize(
                [made],
                resources={"io": manager},
                instance=instance,
                tags=tags,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            yield name, time.process_time() - cpu, time.monotonic() - wall
            assert result.success
            assert len(result.asset_materializations_for_node("made")) == PARTITIONS
            if name == "unchanged rerun":
                assert times(folder / "store") == before, "an unchanged rerun touched the vault"


def times(root: Path) -> dict[Path, int]:
    """Modification time in ns of everything below `root`, folders too."""
    return {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} if root.exists() else {}


def main() -> None:
    """Print one table."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        found = list(runs(Path(folder)))
    least = found[0][1]
    print(f"{PARTITIONS} partitions in one run; goal {GOAL * 1e3:.0f} ms of CPU for each")
    print(f"{'':18}{'CPU ms each':>12}{'wall ms each':>14}{'× Dagster':>11}")
    for name, cpu, wall in found:
        print(f"{name:18}{cpu / PARTITIONS * 1e3:12.1f}{wall / PARTITIONS * 1e3:14.1f}{cpu / least:11.2f}")
    print("unchanged rerun: 0 bytes written, no time below the vault changed")


if __name__ == "__main__":
    main()

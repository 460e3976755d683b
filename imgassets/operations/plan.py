"""What a backfill would do, and what it would cost. Nothing is written, and no more than headers is read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import dagster as dg

from imgassets.io.artifacts import Estimate
from imgassets.planning.graph import Asset, Graph
from imgassets.planning.prospects import Prospect, Prospects, Verdict

HISTORY = 50
"""Materializations of an asset that its speed is taken from."""
RATE, OVERHEAD = 100e6, 0.02
"""Where an asset was never made: bytes read, written and checked in a second, on two cores and an ordinary disk;
seconds of Dagster's for each partition."""
PROCESS = 190_000_000
"""Bytes of memory that a run has before it does anything: Python, Dagster and what they import."""


@dataclass(frozen=True)
class Step:
    """One partition; what cannot be told beforehand is None."""

    asset: str
    partition: str
    verdict: str
    """`build`, `keep`, `unread` (kept unless inputs that have to be read are others) or `cannot`."""
    reason: str
    read: int | None
    """Bytes."""
    write: int | None
    """Bytes."""
    replaced: int
    """Bytes of the version that is there."""
    memory: int | None
    """Peak bytes of the process."""
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """All of them, in the order in which they are made."""

    steps: Sequence[Step]

    @property
    def totals(self) -> dict[str, Any]:
        """Sums over what is known; `unknown` counts the partitions whose size cannot be told yet."""
        built = [step for step in self.steps if step.verdict == Verdict.BUILD.value]
        counts = {verdict.value: sum(step.verdict == verdict.value for step in self.steps) for verdict in Verdict}
        return {
            **counts,
            "unknown": sum(step.write is None for step in built),
            "read": sum(step.read or 0 for step in self.steps),
            "write": sum(step.write or 0 for step in built),
            "peak_disk": self.peak_disk,
            "memory": max((step.memory for step in built if step.memory is not None), default=None),
            "seconds": sum(step.seconds or 0 for step in built) if all(s.seconds is not None for s in built) else None,
        }

    @property
    def peak_disk(self) -> int:
        """Most bytes the vault grows by at any moment: an old version stays until the new one is whole."""
        used = peak = 0
        for step in self.steps:
            if step.verdict == Verdict.BUILD.value:
                used += step.write or 0
                peak = max(peak, used)
                used -= step.replaced
        return peak

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {"totals": self.totals, "partitions": [asdict(step) for step in self.steps]}


def plan(
    graph: Graph,
    wanted: Iterable[tuple[Asset, Sequence[str]]],
    instance: dg.DagsterInstance,
    *,
    config: Mapping[dg.AssetKey, Mapping[str, Any]] | None = None,
    force: bool = False,
    observe: Callable[[str], object] = lambda _: None,
) -> Plan:
    """The plan of making `wanted`, assets with their partitions, upstream first; `observe` is told each one."""
    wanted = list(wanted)
    prospects = Prospects(
        graph, instance, config=config, making={asset.key for asset, _ in wanted}, force=force, trusting=True
    )
    steps = []
    for asset, keys in wanted:
        history = _History.of(asset, instance)
        for key in keys:
            steps.append(_step(prospects, prospects.of(asset, key), history))
            observe(key)
    return Plan(steps)


def _step(prospects: Prospects, prospect: Prospect, history: "_History") -> Step:
    known = partial(Step, prospect.asset.name, prospect.partition, prospect.verdict.value, prospect.reason)
    replaced = prospect.manifest.total_bytes if prospect.manifest else 0
    if prospect.verdict is Verdict.CANNOT:
        return known(read=None, write=None, replaced=replaced, memory=None, seconds=None)
    if prospect.verdict in {Verdict.KEEP, Verdict.UNREAD}:
        looked_at = prospects.unproven_bytes(prospect) + prospects.unread_bytes(prospect)
        return known(read=looked_at, write=0, replaced=0, memory=None, seconds=looked_at / RATE)
    estimate = prospect.estimate
    write = estimate.write if estimate else replaced or None
    read = estimate.read if estimate and estimate.read is not None else prospects.input_bytes(prospect)
    read = None if read is None else read + prospects.unread_bytes(prospect)
    beyond = estimate.memory if estimate else None
    return known(
        read=read,
        write=write,
        replaced=replaced,
        memory=history.memory or (None if beyond is None else PROCESS + beyond),
        seconds=None if write is None else _seconds(write, read, estimate, history),
    )


def _seconds(write: int, read: int | None, estimate: Estimate | None, history: "_History") -> float:
    """Of the work, its checks, which read what was written, and Dagster."""
    if history.seconds_per_byte:
        return write * history.seconds_per_byte
    if estimate and estimate.seconds is not None:
        return OVERHEAD + estimate.seconds
    return OVERHEAD + (write + (read or 0) + write) / RATE


@dataclass(frozen=True)
class _History:
    """What making partitions of an asset has cost so far: whole runs, for half of one may be its checks."""

    seconds_per_byte: float | None
    memory: int | None

    @classmethod
    def of(cls, asset: Asset, instance: dg.DagsterInstance) -> "_History":
        records = instance.fetch_materializations(asset.key, limit=HISTORY).records
        built: dict[str, list[dict[str, Any]]] = {}
        for record in records:
            if made := record.asset_materialization:
                row = {name: item.value for name, item in made.metadata.items()}
                if row.get("state") == "built" and row.get("bytes"):
                    built.setdefault(record.run_id, []).append(row)
        if not built:
            return cls(None, None)
        cut = records[-1].run_id if len(records) == HISTORY else None
        seconds = _run_seconds(asset, instance, built, cut)
        spent = sum(seconds[run] for run in built)
        memory = max(int(row.get("peak_memory_MB") or 0) for rows in built.values() for row in rows)
        nbytes = sum(row["bytes"] for rows in built.values() for row in rows)
        return cls(spent / nbytes, int(memory * 1e6) or None)


def _run_seconds(
    asset: Asset, instance: dg.DagsterInstance, built: Mapping[str, Sequence[Mapping[str, Any]]], cut: str | None
) -> dict[str, float]:
    """Seconds by run that the partitions in `built` took: the run's, where it made nothing but this asset.

    Of the run `cut` not all partitions are known, but how many there are.
    """
    seconds = {run: float(sum(row["seconds"] for row in rows)) for run, rows in built.items()}
    for record in instance.get_run_records(filters=dg.RunsFilter(run_ids=list(built))):
        run = record.dagster_run
        if not record.start_time or not record.end_time or run.asset_selection != {asset.key}:
            continue
        known = len(built[run.run_id])
        share = known / max(known, _partitions(asset, instance, run.tags)) if run.run_id == cut else 1
        seconds[run.run_id] = max(seconds[run.run_id], share * (record.end_time - record.start_time))
    return seconds


def _partitions(asset: Asset, instance: dg.DagsterInstance, tags: Mapping[str, str]) -> int:
    """How many partitions a run is of, by its tags."""
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    keys = asset.keys(instance)
    return keys.index(last) - keys.index(first) + 1 if first in keys and last in keys else 1

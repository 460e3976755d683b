"""What a backfill would do, and what it would cost. Nothing is written, and no more than headers is read."""

from collections.abc import Iterable, Mapping, Sequence
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
"""Where an asset was never made: bytes read and written in a second, on two cores and an ordinary disk; seconds of
Dagster's for each partition."""


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
) -> Plan:
    """The plan of making `wanted`, assets with their partitions, upstream first."""
    wanted = list(wanted)
    prospects = Prospects(
        graph, instance, config=config, making={asset.key for asset, _ in wanted}, force=force, trusting=True
    )
    steps = []
    for asset, keys in wanted:
        history = _History.of(asset, instance)
        steps += [_step(prospects, prospects.of(asset, key), history) for key in keys]
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
    return known(
        read=None if read is None else read + prospects.unread_bytes(prospect),
        write=write,
        replaced=replaced,
        memory=history.memory or (estimate.memory if estimate else None),
        seconds=None if write is None else _seconds(write, read, estimate, history),
    )


def _seconds(write: int, read: int | None, estimate: Estimate | None, history: "_History") -> float:
    if history.seconds_per_byte:
        return write * history.seconds_per_byte
    if estimate and estimate.seconds is not None:
        return estimate.seconds
    return OVERHEAD + (write + (read or 0)) / RATE


@dataclass(frozen=True)
class _History:
    """What making partitions of an asset has cost so far."""

    seconds_per_byte: float | None
    memory: int | None

    @classmethod
    def of(cls, asset: Asset, instance: dg.DagsterInstance) -> "_History":
        records = instance.fetch_materializations(asset.key, limit=HISTORY).records
        rows = [
            {name: item.value for name, item in record.asset_materialization.metadata.items()}
            for record in records
            if record.asset_materialization
        ]
        built: list[Any] = [row for row in rows if row.get("state") == "built" and row.get("bytes")]
        if not built:
            return cls(None, None)
        memory = max((row.get("peak_memory_MB") or 0 for row in built), default=0)
        return cls(sum(row["seconds"] for row in built) / sum(row["bytes"] for row in built), int(memory * 1e6) or None)

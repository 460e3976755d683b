"""Which partitions are missing, failed or stale, and how far each asset has come."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import dagster as dg

from imgassets.operations import checks
from imgassets.operations.selection import graph
from imgassets.planning.graph import Asset
from imgassets.planning.prospects import Prospect, Prospects, Verdict
from imgassets.planning.records import failed, missing

__all__ = ["PartitionState", "Status", "failed", "missing", "partitions", "stale", "status", "unchecked"]


@dataclass(frozen=True)
class Status:
    """One asset's partitions, counted."""

    asset: str
    partitions: int
    current: int
    stale: int
    unread: int
    """There, and current unless an input that was copied, moved or touched is another one; a backfill reads it once."""
    unread_bytes: int
    missing: int
    failed: int
    unchecked: int
    bytes: int
    reasons: dict[str, str]
    """Why, of all that are stale, unread or failed, by partition."""


def stale(asset: Asset, instance: dg.DagsterInstance, upstream: Collection[Asset] = ()) -> list[str]:
    """Partitions that are there, but of which another version would be made now.

    Those are also stale that are made from a stale partition of one of `upstream`.
    """
    prospects = Prospects(graph(), instance, making={other.key for other in upstream})
    return [key for key in asset.keys(instance) if prospects.of(asset, key).stale]


def unchecked(asset: Asset, instance: dg.DagsterInstance) -> list[str]:
    """Partitions that are recorded, but that not every check was run on: their run was killed, or failed, before."""
    found = set[str]().union(*checks.unchecked(asset, instance).values())
    return [key for key in asset.keys(instance) if key in found]


def status(assets: Collection[Asset], instance: dg.DagsterInstance) -> list[Status]:
    """How far each asset has come, upstream changes followed down to what is made from it."""
    prospects = Prospects(graph(), instance, making=set(graph().assets), trusting=True)
    return [_status(asset, prospects, instance) for asset in assets]


@dataclass(frozen=True)
class PartitionState:
    """One partition: `current`, `stale`, `unknown`, `missing` or `failed`, and why."""

    asset: str
    partition: str
    state: str
    bytes: int
    reason: str


def partitions(assets: Collection[Asset], instance: dg.DagsterInstance) -> Iterator[PartitionState]:
    """The state of every partition, in order."""
    prospects = Prospects(graph(), instance, making=set(graph().assets), trusting=True)
    for asset in assets:
        bad = failed(asset, instance)
        for key in asset.keys(instance):
            yield _partition(prospects.of(asset, key), bad)


def _partition(found: Prospect, bad: Collection[str]) -> PartitionState:
    words = {Verdict.KEEP: "current", Verdict.UNREAD: "unknown"}
    state = words.get(found.verdict, "stale") if found.manifest else "missing"
    state = "failed" if found.partition in bad else state
    size = found.manifest.total_bytes if found.manifest else 0
    reason = "" if state in ("current", "missing") else found.reason
    return PartitionState(found.asset.name, found.partition, state, size, reason)


def _status(asset: Asset, prospects: Prospects, instance: dg.DagsterInstance) -> Status:
    found = [prospects.of(asset, key) for key in asset.keys(instance)]
    bad = failed(asset, instance)
    there = [prospect for prospect in found if prospect.manifest]
    unread = [prospect for prospect in there if prospect.verdict is Verdict.UNREAD]
    return Status(
        asset.name,
        partitions=len(found),
        current=sum(prospect.verdict is Verdict.KEEP for prospect in found),
        stale=sum(prospect.verdict not in {Verdict.KEEP, Verdict.UNREAD} for prospect in there),
        unread=len(unread),
        unread_bytes=sum({path: n for prospect in unread for path, n in prospect.unread.items()}.values()),
        missing=len(found) - len(there),
        failed=len(bad),
        unchecked=len(unchecked(asset, instance)),
        bytes=sum(prospect.manifest.total_bytes for prospect in there if prospect.manifest),
        reasons={
            prospect.partition: _reason(prospect, bad)
            for prospect in found
            if prospect.verdict is not Verdict.KEEP and (prospect.manifest or prospect.partition in bad)
        },
    )


def _reason(prospect: Prospect, bad: Collection[str]) -> str:
    return f"failed; {prospect.reason}" if prospect.partition in bad else prospect.reason

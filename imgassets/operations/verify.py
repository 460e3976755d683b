"""Reading everything again: every checksum, and every check of every partition; and mending what that finds."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from imgassets import documents
from imgassets.environment import Storage
from imgassets.errors import ImgassetsError, MissingUpstream, StoreError
from imgassets.io import dagster_private
from imgassets.io.artifacts import Artifacts
from imgassets.io.asked import NOTES
from imgassets.operations.backfill import Outcome, accepts, backfill
from imgassets.operations.checks import ALL, checks_of, is_partitioned
from imgassets.operations.selection import graph
from imgassets.planning.graph import Asset


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with one partition, or with all of them together."""

    asset: str
    partition: str
    kind: str
    """`bytes`: lost or damaged, which making it again mends; or the name of the check that failed."""
    problem: str


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what was found."""

    partitions: int
    bytes: int
    findings: Sequence[Fault]


def verify(
    wanted: Sequence[tuple[Asset, Sequence[str]]],
    instance: dg.DagsterInstance,
    *,
    checks: bool = True,
    observe: Callable[[str], None] = lambda _: None,
) -> Verified:
    """Read every byte of the partitions that are there, and judge them by their checks.

    A partition that was made and is gone is a finding too. What is found stays noted for `repair`, also if somebody
    stops it.
    """
    findings: list[Fault] = []
    looked_at: set[tuple[str, str]] = set()
    try:
        partitions, nbytes = _look(wanted, instance, checks, observe, findings, looked_at)
    finally:
        _note(findings, looked_at)
    return Verified(partitions, nbytes, findings)


def _look(
    wanted: Sequence[tuple[Asset, Sequence[str]]],
    instance: dg.DagsterInstance,
    checks: bool,
    observe: Callable[[str], None],
    findings: list[Fault],
    looked_at: set[tuple[str, str]],
) -> tuple[int, int]:
    """Add to what is found, and to what was looked at to the end; returns partitions and bytes."""
    partitions = nbytes = 0
    for asset, keys in wanted:
        recorded, before = dagster_private.recorded(instance, asset.key), partitions
        for key in keys:
            artifact = asset.artifact(key)
            try:
                manifest = artifact.vault.verify(artifact.location)
                partitions, nbytes = partitions + 1, nbytes + manifest.total_bytes
                if checks:
                    findings += _failed_checks(asset, key, instance)
            except MissingUpstream:
                if key in recorded:
                    partitions += 1
                    findings.append(Fault(asset.name, key, "bytes", f"{artifact.location.path} is gone"))
            except ImgassetsError as error:
                partitions += 1
                findings.append(Fault(asset.name, key, "bytes", str(error)))
            looked_at.add((asset.name, key))
            observe(f"{asset.name}/{key}")
        if checks and partitions > before:
            findings += _failed_checks(asset, ALL, instance)
        looked_at.add((asset.name, ALL))
    return partitions, nbytes


def noted() -> list[Fault]:
    """What was found and not mended yet."""
    try:
        return [Fault(**entry) for entry in documents.parse(_notes().read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise StoreError(f"{_notes()} is damaged ({error}): remove it and run `imgassets verify` again.") from error


def repair(assets: Sequence[Asset], instance: dg.DagsterInstance) -> Iterator[Outcome]:
    """Make again, upstream first, the partitions of `assets` whose bytes were found lost or damaged, and only those.

    Each is made with the run configuration it was made with, as far as its manifest tells.
    """
    found = {(finding.asset, finding.partition) for finding in noted() if finding.kind == "bytes"}
    for asset in assets:
        for key in asset.keys(instance):
            if (asset.name, key) not in found:
                continue
            outcome = Outcome(asset.name, unchanged=[key])
            if not _whole(asset, key):
                outcome = backfill(asset, [key], instance, config={**_settings(asset, key), "force": True})
            if not outcome.failed:
                _note([], {(asset.name, key)})
            yield outcome


def _whole(asset: Asset, key: str) -> bool:
    artifact = asset.artifact(key)
    try:
        artifact.vault.verify(artifact.location)
    except ImgassetsError:
        return False
    return True


def _settings(asset: Asset, key: str) -> dict[str, Any]:
    from imgassets.commit import load

    try:
        manifest = load(asset.artifact(key).location.manifest)
    except (OSError, StoreError):
        return {}
    settings = {name: value for name, value in manifest.settings.items() if accepts(asset, {name: value})}
    declared = sorted(settings.keys() - manifest.facts.get(NOTES, {}).keys())
    return settings | {"reset": declared}  # what nobody asked for is not to be remembered


def _failed_checks(asset: Asset, key: str, instance: dg.DagsterInstance) -> Iterator[Fault]:
    """What the checks of a partition find; with `ALL`, those of the whole asset."""
    for check, definition in checks_of(asset.key).items():
        partitioned = is_partitioned(definition)
        if partitioned == (key == ALL):
            continue
        inputs = {}
        for argument, read in dagster_private.inputs(definition).items():
            other = graph().assets[read]
            inputs[argument] = Artifacts((key,) if partitioned else other.keys(instance), other.artifact)
        try:
            results = dagster_private.body(definition)(**inputs)
        except ImgassetsError as error:
            yield Fault(asset.name, key, check.name, str(error))
            continue
        for result in [results] if isinstance(results, dg.AssetCheckResult) else results:
            if not result.passed and result.severity is dg.AssetCheckSeverity.ERROR:
                yield Fault(asset.name, key, check.name, result.description or "failed")


def _notes() -> Path:
    storage: Storage = graph().resources["storage"]
    return storage.vault.state / "findings.json"


def _note(findings: Sequence[Fault], looked_at: set[tuple[str, str]]) -> None:
    """Replace what was noted of the partitions that were looked at."""
    kept = [finding for finding in noted() if (finding.asset, finding.partition) not in looked_at]
    path = _notes()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([asdict(finding) for finding in [*kept, *findings]], indent=1), encoding="utf-8")
    fresh.replace(path)

"""Asset checks over artifacts: one finding per partition, with numbers, whether a run covers one partition or many."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from imgassets.errors import ImgassetsError, MissingUpstream
from imgassets.io.artifacts import Artifact, Artifacts
from imgassets.progress import tell


@dataclass(frozen=True)
class Finding:
    """What a check found in one partition."""

    passed: bool
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, as JSON values."""
    text: str = ""
    """One sentence, for a person."""
    pending: bool = False
    """It cannot be told yet, because something is not there: no more than a warning."""


def artifact_check(
    asset: dg.AssetsDefinition, name: str, judge: Callable[[Artifact], Finding], *, warn: bool = False
) -> dg.AssetChecksDefinition:
    """A check of every partition of `asset`; `judge`'s docstring describes it.

    An artifact that cannot be read fails the check with the reason. With `warn` a failure is a warning.
    """

    @dg.asset_check(
        asset=asset,
        name=name,
        description=inspect.cleandoc(judge.__doc__ or name),
        partitions_def=asset.partitions_def,
    )
    def check(artifacts: Artifacts):  # type: ignore[no-untyped-def]
        findings: dict[str, Finding] = {}
        for key, artifact in artifacts.items():
            tell(f"checking {name}, {len(findings)}/{len(artifacts)}")
            findings[key] = _judge(judge, artifact)
            if len(artifacts) > 1:  # Dagster gives a result no partition then
                yield dg.AssetCheckEvaluation(
                    asset_key=asset.key, check_name=name, partition=key, **_said(findings[key], warn)
                )
        yield dg.AssetCheckResult(**_said(_together(findings), warn))

    return check


def bytes_verified(artifact: Artifact) -> Finding:
    """Every byte has the checksum that was recorded when it was written."""
    manifest = artifact.vault.verify(artifact.location)
    return Finding(True, {"bytes": manifest.total_bytes, "files": len(manifest.files)}, "all checksums agree")


def all_accounted_for(artifact: Artifact) -> Finding:
    """Every file that was walked is a row, a listed exception with its reason, or counted as passed over."""
    facts = artifact.vault.manifest(artifact.location).facts
    if "walked" not in facts:
        return Finding(True, {}, "made before files were counted that are passed over: `force: true` counts them")
    passed = {reason: of["count"] for reason, of in facts.get("passed_over", {}).items()}
    left_out = 0 if "columns" in facts else facts.get("skipped", 0)  # an index has rows of those as well
    numbers = {"rows": facts["rows"], "skipped": left_out, "label_files": facts.get("label_files", 0)} | passed
    lost = facts["walked"] - sum(numbers.values())
    said = f"{facts['walked']} files: " + ", ".join(f"{count} {name}" for name, count in numbers.items() if count)
    return Finding(lost == 0, {"walked": facts["walked"], **numbers}, said if lost == 0 else f"{said}, {lost} lost")


def _judge(judge: Callable[[Artifact], Finding], artifact: Artifact) -> Finding:
    try:
        return judge(artifact)
    except MissingUpstream as error:
        return Finding(False, {}, f"not yet: {error}", pending=True)
    except ImgassetsError as error:
        return Finding(False, {}, str(error))


def _together(findings: Mapping[str, Finding]) -> Finding:
    """The finding on all partitions of a run; on one partition it is that one's."""
    if len(findings) == 1:
        return next(iter(findings.values()))
    bad = {key: finding for key, finding in findings.items() if not finding.passed}
    worst = min(bad.values(), key=lambda finding: finding.pending, default=Finding(True))
    numbers = {"partitions": len(findings), "failed": len(bad)}
    texts = {key: finding.text for key, finding in bad.items()}
    return Finding(not bad, numbers | texts, worst.text, worst.pending)


def _said(finding: Finding, warn: bool) -> dict[str, Any]:
    """A finding as Dagster's results and evaluations have it."""
    severity = dg.AssetCheckSeverity.WARN if warn or finding.pending else dg.AssetCheckSeverity.ERROR
    return {
        "passed": finding.passed,
        "metadata": finding.numbers,
        "severity": severity,
        "description": finding.text or None,
    }

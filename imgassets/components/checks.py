"""Asset checks over artifacts: one verdict per partition, with numbers, whether a run covers one partition or many."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from imgassets.errors import ImgassetsError, MissingUpstream
from imgassets.io.artifacts import Artifact, Artifacts
from imgassets.progress import tell


@dataclass(frozen=True)
class Verdict:
    """What a check found in one partition."""

    passed: bool
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, as JSON values."""
    text: str = ""
    """One sentence, for a person."""
    pending: bool = False
    """It cannot be told yet, because something is not there: no more than a warning."""


def artifact_check(
    asset: dg.AssetsDefinition, name: str, judge: Callable[[Artifact], Verdict], *, warn: bool = False
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
        verdicts: dict[str, Verdict] = {}
        for key, artifact in artifacts.items():
            tell(f"checking {name}, {len(verdicts)}/{len(artifacts)}")
            verdicts[key] = _judge(judge, artifact)
            if len(artifacts) > 1:  # Dagster gives a result no partition then
                yield dg.AssetCheckEvaluation(
                    asset_key=asset.key, check_name=name, partition=key, **_said(verdicts[key], warn)
                )
        yield dg.AssetCheckResult(**_said(_together(verdicts), warn))

    return check


def _judge(judge: Callable[[Artifact], Verdict], artifact: Artifact) -> Verdict:
    try:
        return judge(artifact)
    except MissingUpstream as error:
        return Verdict(False, {}, f"not yet: {error}", pending=True)
    except ImgassetsError as error:
        return Verdict(False, {}, str(error))


def _together(verdicts: Mapping[str, Verdict]) -> Verdict:
    """The verdict on all partitions of a run; on one partition it is that one's."""
    if len(verdicts) == 1:
        return next(iter(verdicts.values()))
    bad = {key: verdict for key, verdict in verdicts.items() if not verdict.passed}
    worst = min(bad.values(), key=lambda verdict: verdict.pending, default=Verdict(True))
    numbers = {"partitions": len(verdicts), "failed": len(bad)}
    texts = {key: verdict.text for key, verdict in bad.items()}
    return Verdict(not bad, numbers | texts, worst.text, worst.pending)


def _said(verdict: Verdict, warn: bool) -> dict[str, Any]:
    """A verdict as Dagster's results and evaluations have it."""
    severity = dg.AssetCheckSeverity.WARN if warn or verdict.pending else dg.AssetCheckSeverity.ERROR
    return {
        "passed": verdict.passed,
        "metadata": verdict.numbers,
        "severity": severity,
        "description": verdict.text or None,
    }

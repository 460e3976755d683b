"""Asset checks over artifacts: one verdict per partition, with numbers, whether a run covers one partition or many."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from imgassets.errors import ImgassetsError
from imgassets.io.artifacts import Artifact, Artifacts


@dataclass(frozen=True)
class Verdict:
    """What a check found in one partition."""

    passed: bool
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, as JSON values."""
    text: str = ""
    """One sentence, for a person."""


def artifact_check(
    asset: dg.AssetsDefinition, name: str, judge: Callable[[Artifact], Verdict], *, warn: bool = False
) -> dg.AssetChecksDefinition:
    """A check of every partition of `asset`; `judge`'s docstring describes it.

    An artifact that cannot be read fails the check with the reason. With `warn` a failure is a warning.
    """
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR

    @dg.asset_check(
        asset=asset,
        name=name,
        description=inspect.cleandoc(judge.__doc__ or name),
        partitions_def=asset.partitions_def,
    )
    def check(artifacts: Artifacts):  # type: ignore[no-untyped-def]
        verdicts = {key: _judge(judge, artifact) for key, artifact in artifacts.items()}
        if len(verdicts) == 1:
            (verdict,) = verdicts.values()
            yield dg.AssetCheckResult(
                passed=verdict.passed, metadata=verdict.numbers, severity=severity, description=verdict.text or None
            )
            return
        for key, verdict in verdicts.items():
            yield dg.AssetCheckEvaluation(
                asset_key=asset.key,
                check_name=name,
                passed=verdict.passed,
                metadata=verdict.numbers,
                severity=severity,
                description=verdict.text or None,
                partition=key,
            )
        failed = {key: verdict.text for key, verdict in verdicts.items() if not verdict.passed}
        yield dg.AssetCheckResult(
            passed=not failed,
            metadata={"partitions": len(verdicts), "failed": len(failed), **failed},
            severity=severity,
            description=next(iter(failed.values()), None),
        )

    return check


def _judge(judge: Callable[[Artifact], Verdict], artifact: Artifact) -> Verdict:
    try:
        return judge(artifact)
    except ImgassetsError as error:
        return Verdict(False, {}, str(error))

"""Which way up the volumes of a split lie, together: counted, noted and judged."""

from collections import Counter
from collections.abc import Mapping

from imgassets.components.checks import Finding
from imgassets.io.artifacts import Artifact


def counted(axes: Mapping[str, str]) -> dict[str, int]:
    """How many sources have which axes, by key in `axes`; the commonest first."""
    return dict(sorted(Counter(axes.values()).items(), key=_commonest))


def told(counts: Mapping[str, int]) -> str:
    """`3 RAS, 1 LPS`: the commonest first, whatever the order in a manifest."""
    return ", ".join(f"{count} {codes}" for codes, count in sorted(counts.items(), key=_commonest))


def _commonest(found: tuple[str, int]) -> tuple[int, str]:
    return -found[1], found[0]


def against_most(axes: Mapping[str, str]) -> list[dict[str, str]]:
    """A note for each volume whose axes are not those of most of its split."""
    most = next(iter(counted(axes)), "")
    return [
        {
            "key": key,
            "note": f"its axes are {codes}, those of most of the split {most}: as stored, the body is mirrored or "
            "turned against theirs; orientation: RAS turns all alike",
        }
        for key, codes in sorted(axes.items())
        if codes != most
    ]


def one_way_up(manifest: Artifact) -> Finding:
    """Volumes that are kept as they are stored have the same axes: of one that has others, the body is mirrored."""
    counts: Mapping[str, int] = manifest.manifest.facts.get("axes", {})
    found = told(counts) or "no file says which way up it lies"
    if manifest.manifest.settings.get("orientation", "as_stored") != "as_stored":
        return Finding(True, dict(counts), f"all are RAS; sources: {found}")
    return Finding(len(counts) <= 1, dict(counts), found if len(counts) <= 1 else f"{found}: set orientation: RAS")

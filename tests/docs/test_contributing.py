"""What the guide for contributors names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`([a-z_./]+(?:/|\.py|\.c|\.md))`", TEXT)))


def test_places_are_found_in_the_text() -> None:
    assert {"stores/codecs/", "imgassets/testing/", "classes.py"} <= set(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_exists(place: str) -> None:
    roots = (
        ROOT,
        ROOT / "imgassets",
        ROOT / "tests" / "commit",
        ROOT / "tests" / "definitions",
        *ROOT.glob("imgassets/*/"),
    )
    assert any((root / place).exists() for root in roots)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z]+)", TEXT))))
def test_a_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)

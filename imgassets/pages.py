"""Pages for people: of what everybody asks, of formats, and of each bundled dataset."""

from __future__ import annotations

from pathlib import Path

from imgassets.projects import PACKAGE


def pages() -> dict[str, Path]:
    """Page by topic: `training`, `formats`, `formats/ipc`, `ct_rate`."""
    found = {}
    for path in sorted((PACKAGE / "docs").rglob("*.md")):
        place = path.relative_to(PACKAGE / "docs").with_suffix("")
        found[(place.parent if place.name == "README" else place).as_posix()] = path
    for path in sorted((PACKAGE / "defs").glob("*/README.md")):
        found[path.parent.name] = path
    return found


def title(page: Path) -> str:
    """Its first heading."""
    with page.open(encoding="utf-8") as lines:
        return next((line.removeprefix("# ").strip() for line in lines if line.startswith("# ")), page.stem)

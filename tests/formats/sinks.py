"""A stage in a folder, for formats' tests."""

from pathlib import Path

from imgassets.commit import Location, Recipe, Stage


def stage(tmp_path: Path) -> Stage:
    """A fresh stage; `published` moves its files to `tmp_path / "artifact"`."""
    made = Stage(Location(tmp_path, tmp_path / "artifact", folder=True), Recipe("a", "b", {}, {}, "f/1", "1"))
    made.open(resume=False)
    return made


def published(made: Stage) -> Path:
    """Publish what was written and return its folder."""
    made.publish({}, ())
    return made.location.path

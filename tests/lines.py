"""Partitions of one line of text each: what the code locations of tests and benchmarks make."""

from typing import Any, ClassVar

from imgassets.commit import Location, Stage, Written
from imgassets.io.base import ArtifactIOManager


class Line(ArtifactIOManager):
    """A text as a file."""

    format: ClassVar[str] = "line/1"
    folder: ClassVar[bool] = False

    def write(self, content: Any, stage: Stage) -> Written:
        with stage.create(stage.location.path.name) as sink:
            sink.write(content.encode())
        return Written({"rows": 1})

    def open(self, location: Location) -> Any:
        return location.path.read_text()

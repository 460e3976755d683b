"""The contract suite on two minimal formats, one a folder and one a file; what only the base does."""

from __future__ import annotations

from typing import Any, ClassVar

from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.environment import Storage
from imgassets.io.base import ArtifactIOManager, Metadata
from imgassets.testing.io_manager import IOManagerContract
from tests.lines import Line


class TextFolder(ArtifactIOManager):
    format: ClassVar[str] = "text-folder/1"

    def write(self, content: Any, stage: Stage) -> Written:
        for name, text in content.items():
            with stage.create(name) as sink:
                sink.write(text.encode())
        return Written({"rows": len(content), "names": sorted(content)})

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        return {"names": ", ".join(manifest.facts["names"])}

    def open(self, location: Location) -> Any:
        return {path.name: path.read_text() for path in sorted(location.path.glob("*.txt"))}


class TestFolder(IOManagerContract):
    def manager(self, storage: Storage) -> ArtifactIOManager:
        return TextFolder(storage=storage)

    def content(self, key: str) -> dict[str, str]:
        return {"a.txt": key, "b.txt": key * 2}

    def check(self, handle: Any, key: str) -> None:
        assert handle == self.content(key)


class TestFile(IOManagerContract):
    def manager(self, storage: Storage) -> ArtifactIOManager:
        return Line(storage=storage)

    def content(self, key: str) -> str:
        return f"text of {key}"

    def check(self, handle: Any, key: str) -> None:
        assert handle == self.content(key)

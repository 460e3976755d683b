"""The contract suite on files that lie beside other artifacts."""

from __future__ import annotations

from typing import Any

from imgassets.environment import Storage
from imgassets.io.base import ArtifactIOManager
from imgassets.io.beside import CtCardIOManager, TfdsIOManager
from imgassets.testing.io_manager import IOManagerContract


class TestTfds(IOManagerContract):
    def manager(self, storage: Storage) -> ArtifactIOManager:
        return TfdsIOManager(storage=storage)

    def content(self, key: str) -> bytes:
        return f"about {key}".encode()

    def check(self, handle: Any, key: str) -> None:
        assert handle.path.parts[-2:] == ("tfrecords", key)
        assert handle.path.read_bytes() == self.content(key)


class TestCtCard(IOManagerContract):
    def manager(self, storage: Storage) -> ArtifactIOManager:
        return CtCardIOManager(storage=storage)

    def content(self, key: str) -> bytes:
        return f"about {key}".encode()

    def check(self, handle: Any, key: str) -> None:
        assert handle.path.parts[-3:] == ("shards", key, "README.md")
        assert handle.path.read_bytes() == self.content(key)

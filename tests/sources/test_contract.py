"""The source contract on every kind of source that stores are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgassets.sources.base import Source
from imgassets.testing.making import sources
from imgassets.testing.source import SourceContract

KINDS = ("arrays", "float", "uint16", "files", "resized", "dense", "dense files", "dense resized")


def contract(kind: str) -> type[SourceContract]:
    class Of(SourceContract):
        @pytest.fixture(autouse=True)
        def _folder(self, tmp_path: Path) -> None:
            self.folder = tmp_path

        def source(self) -> Source:
            return sources(self.folder)[kind]

    return Of


globals().update({f"Test_{kind.replace(' ', '_')}": contract(kind) for kind in KINDS})

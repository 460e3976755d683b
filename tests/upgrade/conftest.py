"""Vaults of earlier versions, and the package of today with their datasets."""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.upgrade.making import COMMAND, environment, package

VAULTS = sorted(Path(__file__).parent.glob("vault-*.tar.xz"))


@dataclass(frozen=True)
class Earlier:
    """A vault and home of an earlier version, and the package of today with its datasets."""

    folder: Path
    environ: dict[str, str]

    def run(self, *arguments: str) -> Any:
        """What `imgassets … --json` says; it must succeed."""
        done = subprocess.run(
            [*COMMAND, *arguments, "--json"],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def artifacts(self) -> dict[str, tuple[int, int]]:
        """Time and size of everything in the vault."""
        root = self.folder / "store"
        return {str(p.relative_to(root)): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(root.rglob("*"))}


@pytest.fixture(scope="session", params=VAULTS, ids=lambda path: path.name.split(".")[0])
def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(request.param) as packed:
        packed.extractall(folder, filter="data")
    return Earlier(folder, package(folder / "code", folder / "defs") | environment(folder))

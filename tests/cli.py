"""The command line on a home of its own, in this process or in a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from imgassets.cli import main
from imgassets.operations.selection import definitions

CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Home:
    """A DAGSTER_HOME, and `imgassets` commands on it."""

    path: Path

    @property
    def raw(self) -> Path:
        return self.path / "raw"

    @property
    def store(self) -> Path:
        return self.path / "store"

    def __call__(self, *arguments: str | Path) -> Done:
        """Run a command in this process."""
        definitions.cache_clear()  # they know the folders of the home they were loaded for
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._environment().items():
                patch.setenv(name, value)
            for name in ("IMGASSETS_RAW", "IMGASSETS_STORE"):
                patch.delenv(name, raising=False)
            done = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="imgassets")
        definitions.cache_clear()
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def shell(self, *arguments: str | Path, cwd: Path) -> Done:
        """Run a command in a process of its own."""
        names = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "IMGASSETS"))}
        path = os.pathsep.join(filter(None, (str(CHECKOUT), names.get("PYTHONPATH"))))
        command = [sys.executable, "-c", "from imgassets.cli import main; main(prog_name='imgassets')"]
        done = subprocess.run(
            [*command, *map(str, arguments)],
            env=names | self._environment() | {"PYTHONPATH": path},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _environment(self) -> dict[str, str]:
        return {"DAGSTER_HOME": str(self.path)}

"""Two projects that share a vault: whatever one does, nothing of the other is touched."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from imgassets.operations.scaffold import scaffold
from imgassets.projects import PACKAGE

SCHEDULES, STEPS = 100, 6
WORKER = """
import json, sys
from click.testing import CliRunner
from imgassets.cli import main
from imgassets.operations.selection import definitions

for line in sys.stdin:
    definitions.cache_clear()
    done = CliRunner().invoke(main, json.loads(line))
    text = repr(done.exception) if done.exception and not isinstance(done.exception, SystemExit) else done.output
    print("done", json.dumps([done.exit_code, text]), flush=True)
"""
DATASET = "type: imgassets.components.ImageFolder\nattributes: {{name: {name}, stores: [memmap, tar]}}\n"


class Team:
    """A project, with a process that runs its commands."""

    def __init__(self, folder: Path, vault: Path) -> None:
        self.folder, self.vault = folder, vault
        scaffold(folder)
        names = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "IMGASSETS"))}
        path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=folder,
            env=names | {"IMGASSETS_STORE": str(vault), "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @property
    def name(self) -> str:
        return self.folder.name

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout
        self._process.stdout.close()

    def run(self, *command: str) -> tuple[int, str]:
        """Exit code and output."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = next(line for line in self._process.stdout if line.startswith("done "))
        code, text = json.loads(line.removeprefix("done "))
        return code, text

    def declare(self, dataset: str, images: int) -> None:
        raw = self.folder / "dagster_home" / "raw" / "folders" / dataset
        for number in range(images):
            place = raw / "ab"[number % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (number, 0, 0)).save(place)
        file = self.folder / self.name / "defs" / dataset / "defs.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(DATASET.format(name=dataset))

    def step(self, rng: random.Random) -> str:
        """Do something; what it was."""
        mine = [self.vault / dataset for dataset in (f"{self.name}_one", f"{self.name}_two")]
        match rng.choice(["backfill", "force", "gc", "verify", "repair", "view", "undeclare", "damage", "stage"]):
            case "undeclare":
                shutil.rmtree(self.folder / self.name / "defs" / mine[1].name, ignore_errors=True)
                return "undeclare"
            case "damage":
                files = sorted(path for folder in mine for path in folder.rglob("*.npy"))
                if files:
                    chosen = rng.choice(files)
                    chosen.write_bytes(chosen.read_bytes()[:-1])
                return "damage"
            case "stage":  # as a killed writer leaves it
                stage = mine[0] / "memmap_store" / ".all.stage"
                (stage / "files").mkdir(parents=True, exist_ok=True)
                (stage / "journal").write_text(json.dumps("0123456789abcdef" * 2))
                return "stage"
            case "force":
                command = ["backfill", "*", "--set", "force=true"]
            case "view":
                command = ["view", f"{mine[0].name}/memmap_store", str(self.folder / "seen")]
            case "gc":
                command = ["gc", "--yes"]
            case name:
                command = [name, "*"]
        code, text = self.run(*command)
        assert code in {0, 1}, text
        assert not text.startswith(("KeyError", "OSError", "TypeError", "AssertionError")), text
        return " ".join(command)

    def things(self) -> dict[str, tuple[int, int]]:
        """Everything of its datasets and its view."""
        found: dict[str, tuple[int, int]] = {}
        owners = self.vault.glob(f".imgassets/owners/{self.name}_*")
        for path in (*self.vault.glob(f"{self.name}_*/**/*"), *owners, *(self.folder / "seen").rglob("*")):
            stat = path.lstat()
            found[str(path)] = (stat.st_mtime_ns, stat.st_ino)
        return found


@pytest.fixture
def teams(tmp_path: Path) -> Iterator[tuple[Team, Team]]:
    both = Team(tmp_path / "red_team", tmp_path / "vault"), Team(tmp_path / "blue_team", tmp_path / "vault")
    yield both
    for team in both:
        team.end()


def test_a_dataset_of_one_name_is_the_first_one_s(teams: tuple[Team, Team]) -> None:
    red, blue = teams
    for team in teams:
        team.declare("cats", 4)
    assert red.run("backfill", "cats/memmap_store")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in red.vault.rglob("*") if path.is_file()}
    code, text = blue.run("backfill", "cats/memmap_store", "--set", "force=true")
    assert code == 1
    assert "cats belongs to the project red_team" in text
    assert "give this dataset another name" in text
    code, text = blue.run("gc", "--yes")
    assert (code, text.splitlines()[-1]) == (0, "0 things, 0 B")
    assert {path: path.stat().st_mtime_ns for path in red.vault.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_nothing_of_the_other_is_touched(teams: tuple[Team, Team]) -> None:
    for number in range(SCHEDULES):
        rng = random.Random(number)
        said = []
        for _ in range(STEPS):
            actor, other = rng.sample(teams, 2)
            actor.declare(f"{actor.name}_one", 4 + rng.randrange(3))
            if rng.random() < 0.5:
                actor.declare(f"{actor.name}_two", 4)
            before = other.things()
            said.append(f"{actor.name}: {actor.step(rng)}")
            assert other.things() == before, (number, said)
    assert all(team.things() for team in teams)

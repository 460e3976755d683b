"""A home of its own with a small ImageNet64, and the commands run on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imgassets.cli import main
from imgassets.commit import Checksums
from imgassets.operations import selection as graph
from tests.components.imagenet import rows, save_npz

CHECKOUT = Path(__file__).parents[2]
BATCHES = [*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data"]
SMALL = ("--set", "csv_size_gb=0.001")


@dataclass
class Home:
    """Where raw inputs, artifacts and Dagster's records of one test lie."""

    path: Path

    @property
    def raw(self) -> Path:
        return self.path / "raw" / "imagenet64"

    @property
    def store(self) -> Path:
        return self.path / "store" / "imagenet64"

    def run(self, *arguments: str, code: int = 0) -> Result:
        """Run `imgassets`; its exit code must be `code`."""
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What `imgassets … --json` prints."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def write(self, batch: str, seed: int, count: int = 5) -> None:
        """Write a raw batch, another one for every seed."""
        (self.raw / f"{batch}.npz").unlink(missing_ok=True)
        save_npz(self.raw / f"{batch}.npz", **rows(seed, count, 64))

    def built(self, *arguments: str) -> set[str]:
        """What a backfill made."""
        settings = SMALL if "csv_sample" in arguments[0] else ()
        outcomes = self.json("backfill", *arguments, *settings)
        return {f"{outcome['asset']}/{key}" for outcome in outcomes for key in outcome["built"]}

    def tree(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file, and of the vault's folders: SQLite's come and go as it reads."""
        return {
            str(path.relative_to(self.path)): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in self.path.rglob("*")
            if path.is_file() or self.path / "store" in path.parents
        }

    def content(self) -> dict[str, bytes]:
        """Every file in the vault."""
        return {
            str(path.relative_to(self.store)): path.read_bytes() for path in self.store.rglob("*") if path.is_file()
        }


def clear() -> None:
    """Forget the loaded graph, whose folders are another test's."""
    graph.definitions.cache_clear()


def fresh(path: Path) -> Home:
    """A home with raw batches and nothing made."""
    path.mkdir()
    shutil.copy(CHECKOUT / "dagster_home" / "dagster.yaml", path)
    found = Home(path)
    for number, batch in enumerate(BATCHES):
        found.write(batch, number)
    return found


def enter(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands work there."""
    monkeypatch.setenv("DAGSTER_HOME", str(home.path))
    monkeypatch.delenv("IMGASSETS_RAW", raising=False)
    monkeypatch.delenv("IMGASSETS_STORE", raising=False)
    clear()


def remember(home: Home) -> None:
    """Read the files of a copied home, so that they are known to be what they are."""
    memory = Checksums(home.path / "imgassets" / "checksums.sqlite")
    for path in [*home.raw.iterdir(), *home.store.rglob("*.*")]:
        if path.is_file():
            memory.of(path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Nothing is made yet."""
    found = fresh(tmp_path / "home")
    enter(found, monkeypatch)
    yield found
    clear()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Home:
    found = fresh(tmp_path_factory.mktemp("made") / "home")
    with pytest.MonkeyPatch.context() as patch:
        enter(found, patch)
        found.run("backfill", "+imagenet64/csv_sample", *SMALL, "--json")
    clear()
    return found


@pytest.fixture
def made(made_once: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Index, arrays and samples of all batches are made, and known to be what they are."""
    found = Home(tmp_path / "home")
    shutil.copytree(made_once.path, found.path, symlinks=True)
    enter(found, monkeypatch)
    remember(found)
    yield found
    clear()


@pytest.fixture(scope="session")
def sampled_once(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("sampled") / "home"
    path.mkdir()
    shutil.copy(CHECKOUT / "dagster_home" / "dagster.yaml", path)
    found = Home(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGASSETS_TFRECORD_SHARDS", "7,3")
        enter(found, patch)
        found.run("sample-data")
        for selection in ("+imagenet64/csv_sample", "group:imagenet64", "group:ilsvrc2012", "group:mini"):
            found.run("backfill", selection, "--missing", *(SMALL if "csv" in selection else ()), "--json")
        for asset in ("activations", "reconstructions", "generated"):
            found.run("backfill", f"dmd2/{asset}", "--json")
    clear()
    return found


@pytest.fixture
def sampled(sampled_once: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """The sample data of several datasets and what is made of it; to be looked at, not changed."""
    monkeypatch.setenv("IMGASSETS_TFRECORD_SHARDS", "7,3")
    enter(sampled_once, monkeypatch)
    yield sampled_once
    clear()

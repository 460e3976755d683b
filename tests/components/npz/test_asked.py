"""What a run is asked for is remembered with what it made, until somebody says otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgassets.commit import Location, Manifest, Recipe
from imgassets.io.artifacts import Build, Builds
from imgassets.io.asked import Asked, BuildConfig
from tests.components.imagenet import Graph, graph, rows, save_npz

SMALL, SMALLER, LARGER = 0.001, 0.0005, 0.002


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arrays, and no sample yet."""
    path = tmp_path_factory.mktemp("asked")
    with declared(path, lambda raw: save_npz(raw / "x" / "val_data.npz", **rows(1, 60))) as made:
        assert made.run("npz_index").success
        assert made.run("arrays").success
    return path


@contextmanager
def declared(folder: Path, write: Callable[[Path], None] | None = None, **attributes: Any) -> Iterator[Graph]:
    """The dataset as its YAML may say."""
    said = {"csv_size_gb": SMALL, "name": "x", "train_batches": [], "resolution": 16} | attributes
    with graph(folder, write, **said) as made:
        yield made


def settings_of(made: Graph) -> tuple[float, int]:
    config = made.artifact("csv_sample", "val").manifest.settings
    return config["csv_size_gb"], config["seed"]


def test_it_holds_as_long_as_nobody_says_otherwise(folder: Path) -> None:
    with declared(folder) as made:
        assert made.run("csv_sample", csv_size_gb=SMALLER).success
        assert settings_of(made) == (SMALLER, 0)
        unchanged = made.run("csv_sample").metadata["val"]
        assert unchanged["state"] == "unchanged, skipped"
        assert unchanged["asked"] == {"csv_size_gb": {"value": SMALLER, "declared": SMALL}}
        assert made.run("csv_sample", seed=3).success
        assert settings_of(made) == (SMALLER, 3)
        assert made.run("csv_sample", force=True).success
        assert settings_of(made) == (SMALLER, 3)
    with declared(folder, csv_size_gb=LARGER) as made:  # of the seed the YAML says what it said
        assert made.run("csv_sample").success
        assert settings_of(made) == (LARGER, 3)
        assert made.run("csv_sample", reset=["seed"]).success
        assert settings_of(made) == (LARGER, 0)
        assert "asked" not in made.artifact("csv_sample", "val").manifest.facts
    with declared(folder) as made:
        assert made.run("csv_sample").success
        assert settings_of(made) == (SMALL, 0)
        manifest = made.artifact("csv_sample", "val").location.manifest
        before = manifest.read_bytes()
        assert made.run("csv_sample", csv_size_gb=SMALL, force=True).success  # nothing else than is declared
        assert manifest.read_bytes() == before


class Two(BuildConfig):
    a: int | None = None
    b: int | None = None
    workers: int | None = None


values = st.none() | st.integers(0, 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(values, values, values, st.integers(0, 2), st.sets(st.sampled_from("ab"))), max_size=8))
def test_any_history(tmp_path: Path, history: list[tuple[int | None, int | None, int | None, int, set[str]]]) -> None:
    """A model of one setting: `a` is asked for and declared in all ways, `b` is asked for alone."""
    location = Location(tmp_path, tmp_path / "x", folder=True)
    location.manifest.parent.mkdir(exist_ok=True)
    location.manifest.unlink(missing_ok=True)
    memory: dict[str, tuple[int, int]] = {}
    for a, b, workers, says, reset in history:
        config, declared = Two(a=a, b=b, workers=workers, reset=sorted(reset)), {"a": says, "b": 0}
        given = {name: value for name, value in (("a", a), ("b", b)) if value is not None}
        held = {name: value for name, (value, then) in memory.items() if then == declared[name] and name not in reset}
        expected = declared | held | given
        kept = {n: v for n, v in (held | given).items() if v != declared[n] and n not in reset}
        memory = {name: (value, declared[name]) for name, value in kept.items()}

        def returned(config: Two, declared: dict[str, int] = declared) -> Builds:
            return Builds(lambda key: Build(lambda: None, config=declared | config.asked))

        def under(text: str, config: Two = config, returned: Any = returned) -> Builds:
            found: Builds = returned(config.model_copy(update=json.loads(text)))
            return found

        builds = replace(returned(config), asked=Asked(config, declared, under))
        build = builds.of("x", location)
        assert build.config == expected
        facts = {"asked": dict(build.notes)} if build.notes else {}
        recipe = Recipe("asset", "x", {}, build.config, "text/1", "1")
        location.manifest.write_bytes(Manifest(recipe, (), facts).dump())

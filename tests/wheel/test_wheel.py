"""The wheel in an environment of its own, away from the checkout: what a newcomer has, from `pip install` on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.snippets import read_the_readme

PYTHON = Path(__file__).parents[2] / ".venv" / "wheel" / "bin" / "python"
THEIRS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
READ = "import imgassets, sys; s = imgassets.open_store(sys.argv[1]); print(len(s), 'dagster' in sys.modules)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists() and not os.environ.get("CI"), reason="no environment with the wheel: run `make wheel`"
    ),
]


def run(cwd: Path, *command: str | Path, code: int = 0) -> str:
    """What a command of that environment prints."""
    program, *arguments = map(str, command)
    names = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "IMGASSETS", "PYTHON"))}
    done = subprocess.run(
        [PYTHON.parent / program, *arguments],
        cwd=cwd,
        env=names | {"COLUMNS": "200", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_is_the_wheel_that_is_tested(tmp_path: Path) -> None:
    place = run(tmp_path, "python", "-c", "import imgassets; print(imgassets.__file__)").strip()
    assert Path(place).is_relative_to(PYTHON.parents[1])
    held = {
        "imagenet_classes.csv",
        "py.typed",
        "defs/mini/defs.yaml",
        "docs/formats/store.md",
        "docs/training.md",
        "defs/ct_rate/README.md",
        "reference.json",
    }
    assert all((Path(place).parent / name).is_file() for name in held)


def test_the_readme_runs_from_top_to_bottom(tmp_path: Path) -> None:
    names = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "IMGASSETS", "PYTHON"))}
    environment = names | {"PATH": f"{PYTHON.parent}:{names['PATH']}", "HOME": str(tmp_path)}
    read_the_readme(tmp_path, environment, PYTHON)


def test_a_project_of_one_s_own(tmp_path: Path) -> None:
    run(tmp_path, "imgassets", "init", "cats")
    project = tmp_path / "cats"
    run(project, "imgassets", "sample-data", "--dataset", "folders/mini")
    raw = project / "dagster_home" / "raw" / "folders"
    (raw / "mini").rename(raw / "cats")
    run(project, "dg", "scaffold", "defs", "imgassets.components.ImageFolder", "cats")
    run(project, "imgassets", "backfill", "cats/memmap_store")
    states = {one["asset"]: one["current"] for one in json.loads(run(project, "imgassets", "status", "--json"))}
    assert states.pop("cats/memmap_store") == 1
    assert set(states.values()) == {0}
    store = project / "dagster_home" / "store" / "cats" / "memmap_store" / "all"
    assert run(tmp_path, "python", "-c", READ, store).strip() == "36 False"
    assert "validated successfully" in run(project, "dg", "check", "yaml")


def test_the_demo_s_datasets(tmp_path: Path) -> None:
    assert "There is no project here: make one with `imgassets init DIR`" in run(
        tmp_path, "imgassets", "status", code=1
    )
    run(tmp_path, "imgassets", "init", "demo", "--with", "imagenet64,mini,dmd2")
    project = tmp_path / "demo"
    run(project, "imgassets", "sample-data", "--dataset", "imagenet64")
    run(project, "imgassets", "backfill", "+imagenet64/csv_sample", "--set", "csv_size_gb=0.001")
    said = run(project, "imgassets", "sample-data", "--dataset", "dmd2", code=1)
    assert "pip install 'imgassets[network]'" in said


def test_somebody_else_s_dagster_project(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "theirs" / "defs" / "mini").mkdir(parents=True)
    (theirs / "home").mkdir()
    (theirs / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "theirs"\n'
    )
    (theirs / ".env").write_text(f"DAGSTER_HOME={theirs / 'home'}\n")
    (theirs / "theirs" / "__init__.py").touch()
    (theirs / "theirs" / "definitions.py").write_text(THEIRS)
    (theirs / "theirs" / "defs" / "mini" / "defs.yaml").write_text(
        "type: imgassets.components.ImageFolder\nattributes: {name: mini}\n"
    )
    run(theirs, "imgassets", "sample-data", theirs / "home" / "raw", "--dataset", "folders/mini", code=1)
    run(tmp_path, "imgassets", "init", "photos")
    run(tmp_path / "photos", "imgassets", "sample-data", theirs / "home" / "raw", "--dataset", "folders/mini")
    select = ("--select", 'key:"mini/memmap_store"', "--partition", "all")
    run(theirs, "dagster", "asset", "materialize", "-m", "theirs.definitions", *select)
    assert run(theirs, "python", "-c", READ, theirs / "home/store/mini/memmap_store/all").strip() == "36 False"

"""`imgassets init`: a project that our commands, and Dagster's own, work in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from imgassets.errors import BadInput
from imgassets.operations.scaffold import offered, scaffold
from imgassets.projects import PACKAGE, Project
from imgassets.stores import open_store

BIN = Path(sys.executable).parent
CATS = "type: imgassets.components.ImageFolder\nattributes: {name: cats, root: folders/cats, stores: [memmap]}\n"
FOREIGN = """
import dagster as dg

import imgassets


@dg.asset
def report(storage: dg.ResourceParam[object]) -> str:
    return type(storage).__name__


@dg.definitions
def defs():
    from pathlib import Path

    datasets = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(datasets, dg.Definitions([report], resources=imgassets.resources()))
"""


@dataclass(frozen=True)
class Folder:
    """A project, and commands run in it by a process of their own."""

    path: Path

    def declare(self, name: str = "cats", text: str = CATS) -> None:
        place = self.path / self.path.name / "defs" / name
        place.mkdir(parents=True)
        (place / "defs.yaml").write_text(text)

    def run(self, command: str, *, code: int = 0, cwd: Path | None = None, **environ: str) -> str:
        """What a command says; it must end with `code`."""
        names = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "IMGASSETS", "PYTHONPATH"))}
        path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        program, *arguments = command.split()
        ours = [sys.executable, "-c", "from imgassets.cli import main; main(prog_name='imgassets')"]
        done = subprocess.run(
            [*(ours if program == "imgassets" else [str(BIN / program)]), *arguments],
            cwd=cwd or self.path,
            env=names | {"PYTHONPATH": path, "COLUMNS": "200"} | environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def images(folder: Path) -> None:
    """Two classes of three images."""
    for number in range(6):
        place = folder / ("tom", "kitty")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(place)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.delenv("IMGASSETS_PROJECT", raising=False)
    scaffold(tmp_path / "photos")
    images(tmp_path / "photos" / "dagster_home" / "raw" / "folders" / "cats")
    return Folder(tmp_path / "photos")


def test_what_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "My photos-2"
    written = scaffold(folder, ["mini", "ct_rate"])
    assert sorted(path.relative_to(folder).as_posix() for path in written) == [
        *(".env", ".gitignore", "dagster_home/dagster.yaml", "my_photos_2/__init__.py", "my_photos_2/definitions.py"),
        *("my_photos_2/defs/ct_rate/defs.yaml", "my_photos_2/defs/example.yaml", "my_photos_2/defs/mini/defs.yaml"),
        *("pyproject.toml", "workspace.yaml"),
    ]
    project = Project.of(folder)
    assert project is not None
    assert (project.root, project.package, len(str(project.id))) == (folder, "my_photos_2", 36)
    checkout = PACKAGE.parent / "dagster_home" / "dagster.yaml"
    assert (folder / "dagster_home" / "dagster.yaml").read_text() == checkout.read_text()
    other = tmp_path / "other"
    scaffold(other)
    assert Project.of(other).id != project.id  # type: ignore[union-attr]


def test_only_what_is_missing_is_written_into_a_project(photos: Folder) -> None:
    settings = (photos.path / "pyproject.toml").read_text()
    (photos.path / ".env").unlink()  # a fresh clone
    (photos.path / "workspace.yaml").write_text("mine")
    photos.declare("mini")
    assert scaffold(photos.path, ["mini", "mini_dense"]) == [
        photos.path / ".env",
        photos.path / "photos" / "defs" / "mini_dense" / "defs.yaml",
    ]
    assert scaffold(photos.path) == []
    assert (photos.path / "workspace.yaml").read_text() == "mine"
    assert (photos.path / "pyproject.toml").read_text() == settings


@pytest.mark.parametrize("name", ["json", "7", "import", "imgassets", "---", "dagster"])
def test_a_name_that_no_package_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="choose another name"):
        scaffold(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_nothing_foreign_is_touched(photos: Folder, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    (tmp_path / "note").touch()
    for folder, said in (
        (tmp_path / "thesis", "is not empty and no project"),
        (tmp_path / "note", "is not empty and no project"),
        (photos.path / "inner", "lies in the project"),
    ):
        with pytest.raises(BadInput, match=said):
            scaffold(folder)
    with pytest.raises(BadInput, match=f"no bundled dataset 'dogs': choose among {', '.join(offered())}"):
        scaffold(tmp_path / "new", ["mini", "dogs"])
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
    assert not (photos.path / "inner").exists()
    assert not (tmp_path / "new").exists()


def test_our_commands_find_it(photos: Folder, tmp_path: Path) -> None:
    photos.declare()
    photos.run("imgassets backfill cats/memmap_store", cwd=photos.path / "photos" / "defs")
    assert len(open_store(photos.path / "dagster_home/store/cats/memmap_store/all")) == 6
    owner = json.loads((photos.path / "dagster_home/store/.imgassets/owners/cats.json").read_text())
    assert owner == {"owner": Project.of(photos.path).id, "project": "photos"}  # type: ignore[union-attr]
    for command, environ in (("imgassets --project photos", {}), ("imgassets", {"IMGASSETS_PROJECT": "photos"})):
        (state,) = json.loads(photos.run(f"{command} status --json", cwd=tmp_path, **environ))
        assert (state["asset"], state["current"]) == ("cats/memmap_store", 1)
    said = photos.run(f"imgassets status --project {photos.path}", cwd=tmp_path, IMGASSETS_STORE=str(tmp_path / "st"))
    first, second, *_ = said.splitlines()[::-1][0], said.splitlines()[0]
    assert f"vault {tmp_path / 'st'}: named by the environment, not those of {photos.path}" in first + second
    assert "imgassets init" in photos.run(f"imgassets status --project {tmp_path}", code=2)


@pytest.mark.slow
def test_dagster_s_own_commands_work_in_it(photos: Folder) -> None:
    photos.run("dg scaffold defs imgassets.components.ImageFolder cats")
    assert "name: cats" in (photos.path / "photos/defs/cats/defs.yaml").read_text()
    assert "validated successfully" in photos.run("dg check yaml")
    assert "cats/memmap_store" in photos.run("dg list defs")
    photos.run('dagster asset materialize -m photos.definitions --select key:"cats/memmap_store" --partition all')
    assert len(open_store(photos.path / "dagster_home/store/cats/memmap_store/all")) == 6
    assert '"description": "Image stores to make of each split."' in photos.run(
        "dg utils inspect-component imgassets.components.ImageFolder"
    )


@pytest.mark.slow
def test_components_bring_what_they_need_into_somebody_else_s_definitions(tmp_path: Path) -> None:
    theirs = Folder(tmp_path / "theirs")
    theirs.declare()
    dagster = '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "theirs"\n'
    (theirs.path / "pyproject.toml").write_text(dagster)
    (theirs.path / "theirs" / "__init__.py").touch()
    (theirs.path / "theirs" / "definitions.py").write_text(FOREIGN)
    home = tmp_path / "home"
    images(home / "raw" / "folders" / "cats")
    theirs.run("dagster asset materialize -m theirs.definitions --select * --partition all", DAGSTER_HOME=str(home))
    assert len(open_store(home / "store/cats/memmap_store/all")) == 6

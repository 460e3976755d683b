"""Which project a folder lies in, and which one a command works on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgassets.errors import BadInput
from imgassets.projects import BUNDLED, PACKAGE, Project

TOOLS = '[tool.imgassets]\nid = "0f0e"\n[tool.dg.project]\nroot_module = "photos"\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("IMGASSETS_PROJECT", raising=False)
    (tmp_path / "photos" / "photos" / "defs").mkdir(parents=True)
    (tmp_path / "photos" / "pyproject.toml").write_text(TOOLS)
    return tmp_path / "photos"


def test_a_path_lies_in_the_nearest_one(root: Path) -> None:
    project = Project(root, "photos", "0f0e")
    for path in (root, root / "photos" / "definitions.py", root / "photos" / "defs"):
        assert Project.of(path) == project
    assert Project.of(root.parent) is None
    inner = root / "photos" / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.ruff]\n")  # somebody else's folder in between
    assert Project.of(inner) == project
    (inner / "pyproject.toml").write_text(TOOLS.replace("photos", "scans"))
    assert Project.of(inner) == Project(inner, "scans", "0f0e")


def test_this_package_is_the_bundled_one_wherever_it_lies() -> None:
    """In an environment below a project too."""
    assert Project.of(PACKAGE / "definitions.py") is BUNDLED
    assert BUNDLED.is_bundled


def test_the_current_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    assert Project.current() is BUNDLED
    monkeypatch.chdir(root / "photos" / "defs")
    assert Project.current().package == "photos"
    monkeypatch.chdir(root.parent)
    monkeypatch.setenv("IMGASSETS_PROJECT", "photos/photos")
    assert Project.current().root == root
    monkeypatch.setenv("IMGASSETS_PROJECT", str(root.parent))
    with pytest.raises(BadInput, match=r"is no project: neither it nor a folder above .* `imgassets init /"):
        Project.current()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.imgassets]\n", "needs `id`"),
        ('[tool.imgassets]\nid = ""\n[tool.dg.project]\nroot_module = "photos"\n', "needs `id`"),
        ('[tool.imgassets]\nid = 7\n[tool.dg.project]\nroot_module = "photos"\n', "needs `id`"),
        ('[tool.imgassets]\nid = "1"\n', "`root_module`"),
        ("[tool.imgassets\n", "cannot be read as TOML"),
        ("\x00", "cannot be read as TOML"),
    ],
)
def test_a_damaged_one_is_said(root: Path, text: str, said: str) -> None:
    (root / "pyproject.toml").write_text(text)
    with pytest.raises(BadInput, match=f"{root / 'pyproject.toml'}.*{said}"):
        Project.of(root)


BLOCKED = ("dagster", "dagster_webserver", "dagster_shared", "dagster_graphql", "huggingface_hub", "uvicorn", "umap")
ALONE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import imgassets
from PIL import Image
for name in ("cat", "dog"):
    __import__("os").makedirs(f"in/{{name}}")
    Image.new("RGB", (9, 9), name == "cat" and "red" or "blue").save(f"in/{{name}}/0.png")
imgassets.convert("in", "out", size=(8, 8))
with_labels = imgassets.open_store("out")
assert len(with_labels) == 2
assert [labels.tolist() for _, labels in with_labels.loader(batch_size=2, shuffle=False)] == [[0, 1]]
"""


def test_training_needs_neither_dagster_nor_the_hub(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "IMGASSETS"))}
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(blocked=set(BLOCKED))],
        env=environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(PACKAGE.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

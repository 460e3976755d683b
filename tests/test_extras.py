"""What one feature alone needs: named where it is missing, and nothing else fails for want of it."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imgassets.errors import BadInput
from imgassets.extras import EXTRAS, extra
from imgassets.projects import PACKAGE

PACKAGES = {"google_crc32c": "google-crc32c", "safetensors": "safetensors", "umap": "umap-learn"}


@pytest.fixture(autouse=True)
def _as_if_asked_for_the_first_time() -> Iterator[None]:
    extra.cache_clear()
    yield
    extra.cache_clear()


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_one_is_named_with_its_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    top = module.split(".")[0]
    for name in [name for name in sys.modules if name.split(".")[0] == top]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, top, None)
    said = rf"{top} is not installed, which this needs: pip install 'imgassets\[{EXTRAS[module]}\]'"
    with pytest.raises(BadInput, match=said):
        extra(module)


def test_a_module_that_fails_for_want_of_another_is_no_missing_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "umap.py").write_text("import of_somebody_else\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    with pytest.raises(ModuleNotFoundError, match="of_somebody_else"):
        extra("umap")


def test_extras_are_declared_and_imported_nowhere_else() -> None:
    file = PACKAGE.parent / "pyproject.toml"
    project = tomllib.loads(file.read_text())["project"]
    for module, name in EXTRAS.items():
        package = PACKAGES[module.split(".")[0]]
        assert any(line.startswith(package) for line in project["optional-dependencies"][name])
        assert not any(line.startswith(package) for line in project["dependencies"])
    for path in PACKAGE.rglob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = {a.name for node in top for a in node.names} | {str(getattr(node, "module", "")) for node in top}
        assert not {name.split(".")[0] for name in names} & PACKAGES.keys(), path


def test_features_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imgassets.formats.tfrecord import write
    from imgassets.models.embedding import UmapSettings, umap_plane

    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    monkeypatch.setitem(sys.modules, "umap", None)
    with (tmp_path / "shard").open("wb") as sink, pytest.raises(BadInput, match="imgassets\\[tfrecords\\]"):
        write(sink, [[b"one"]])
    with pytest.raises(BadInput, match="imgassets\\[network\\]"):
        umap_plane(np.zeros((40, 4), np.float32), UmapSettings())

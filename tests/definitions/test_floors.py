"""Rooms and floors: a module imports from floors below its own, and nothing in the package unpickles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import imgassets

ROOT = Path(next(iter(imgassets.__path__)))
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

DAGSTER = {"resources.py", "io", "components", "operations", "definitions.py", "defs", "cli"}
"""Rooms where Dagster is at home; no other may import it, or any of these."""
ABOVE = {
    "columns.py": {"formats", "sources", "store", "compat", "conversion", "pixels", "views", "ct_views"},
    "pixels.py": {"formats", "sources", "store", "compat", "conversion", "columns", "views", "ct_views"},
    "formats": {"store", "compat", "conversion", "views", "ct_views", "models", "volumes"},
    "sources": {"store", "compat", "conversion", "views", "ct_views", "models", "volumes", "formats"},
    "volumes": {"store", "compat", "conversion", "views", "ct_views", "models", "formats", "sources"},
    "models": {"store", "compat", "conversion", "views", "ct_views", "volumes", "formats", "sources"},
    "store": {"compat", "conversion"},
    "conversion.py": {"compat"},
    "resources.py": {"io", "components", "operations", "definitions", "defs", "cli"},
    "io": {"components", "operations", "definitions", "defs", "cli"},
    "components": {"operations", "definitions", "defs", "cli"},
    "operations": {"components", "defs", "cli"},  # it finds the graph by `definitions`, inside a function
    "definitions.py": {"operations", "cli"},
    "defs": {"definitions", "cli"},
}
"""By room: the rooms above it or beside it, which it must not know."""
ONLY = {"commit": {"commit", "errors", "progress"}, "errors.py": set[str](), "progress.py": set[str]()}


def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), filename=module)


def imports(module: str) -> Iterator[str]:
    """Full names of all that a module imports, inside functions too."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are banned"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(module: str) -> set[str]:
    """First names below `imgassets` of what a module imports."""
    return {name.split(".")[1] for name in imports(module) if name.startswith("imgassets.")}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    room = module.split("/")[0]
    found = rooms(module)
    if room in ONLY:
        assert found <= ONLY[room]
    assert not found & ABOVE.get(room, set())
    if room not in DAGSTER:
        assert not [name for name in imports(module) if name.split(".")[0] == "dagster"]
        assert not found & {name.removesuffix(".py") for name in DAGSTER}


def test_the_rooms_that_are_watched_exist() -> None:
    assert {*ABOVE, *ONLY, *DAGSTER} <= {module.split("/")[0] for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_unpickles(module: str) -> None:
    names = {name.split(".")[0] for name in imports(module)}
    assert not names & {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        where = f"{module}:{node.lineno}"
        assert given.get("allow_pickle", "False") == "False", where
        assert given.get("weights_only", "True") == "True", where
        if called == "np.load":
            assert given.get("allow_pickle") == "False", where
        if called == "torch.load":
            assert given.get("weights_only") == "True", where


@pytest.mark.parametrize("module", MODULES)
def test_dagster_can_resolve_annotations(module: str) -> None:
    """Assets, resources and configuration are read at run time: annotations must not be postponed there."""
    calls = {ast.unparse(node) for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
    if calls & {"dg.asset", "dg.multi_asset", "dg.asset_check", "dg.ConfigurableResource", "dg.Config", "dg.op"}:
        assert "__future__" not in set(imports(module)), "no `from __future__ import annotations` here"

"""Rooms and floors: a module imports from floors below its own, and nothing in the package unpickles."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import imgassets

ROOT = Path(next(iter(imgassets.__path__)))
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

DAGSTER = {
    *("environment", "io", "planning", "components", "definitions", "operations", "defs", "cli", "testing"),
    "__init__",
}
"""Rooms where Dagster is at home; no other may import it, or any of these. `__init__` does so in functions alone."""
FLOORS = (
    {"documents", "errors", "foreign", "granted", "interrupts", "progress", "spelling"},
    {"extras", "functions"},
    {
        "classes",
        "columns",
        "commit",
        "engines",
        "images",
        "mapping",
        "places",
        "projects",
        "templates",
        "ranks",
        "sampling",
        "threads",
        "views",
    },
    {"augment", "ct_views", "declared", "formats", "models", "ownership", "pages", "sources"},
    {"environment", "sample_data", "settings", "stores", "volumes"},
    {"compat", "io"},
    {"planning"},
    {"components"},
    {"definitions"},
    {"__init__", "operations"},
    {"cli", "defs", "testing"},
)
"""Rooms from the ground up. A module imports from its own room and from floors below; rooms of one floor do not know
each other."""
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
KINDS = {"ct", "folder", "ilsvrc", "npz", "torch_dataset"}
"""Kinds of datasets, folders of `components`, that do not know each other either."""
PRIVATE = "io/dagster_private.py"
"""The one module that may use what is not Dagster's public API."""
PRIVATE_MEMBERS = {
    *("step_context", "add_asset_metadata", "compute_fn", "as_field", "keys_by_input_name"),
    *("get_io_manager_key_for_asset_key", "backfill_policy", "asset_graph", "get_top_level_resources"),
    *("get_repository_def", "resolve_asset_graph", "resolve_implicit_global_asset_job_def", "resolve_all_job_defs"),
    *("from_string", "event_log_storage", "run_storage", "get_materialized_partitions", "get_runs", "all_logs"),
    *("get_asset_check_evaluations", "add_run_tags", "load_component"),
    *("step_materialization_data", "step_failure_data", "engine_event_data"),
}
"""Those that were in use, by name: nothing else in the package has such names."""


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


def room(module: str) -> str:
    """First name below `imgassets` of a file."""
    return module.split("/")[0].removesuffix(".py")


def rooms(module: str) -> set[str]:
    """Rooms of what a module imports."""
    return {name.split(".")[1] for name in imports(module) if name.startswith("imgassets.")}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    own, found = room(module), rooms(module)
    assert not {name for name in found - {own} if FLOOR[name] >= FLOOR[own]}
    if own not in DAGSTER:
        assert not [name for name in imports(module) if name.split(".")[0] == "dagster"]
        assert not found & DAGSTER


@pytest.mark.parametrize("module", [module for module in MODULES if module != PRIVATE])
def test_private_parts_of_dagster_have_one_room(module: str) -> None:
    assert not [name for name in imports(module) if name.startswith(("dagster._", "dagster_webserver"))]
    used = {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
    assert not used & PRIVATE_MEMBERS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_kinds_do_not_know_each_other(kind: str) -> None:
    own = [module for module in MODULES if module.startswith(f"components/{kind}/")]
    others = tuple(f"imgassets.components.{other}" for other in KINDS - {kind} | {"network"})
    assert own
    assert not [name for module in own for name in imports(module) if name.startswith(others)]


def test_every_room_has_its_floor() -> None:
    assert {room(module) for module in MODULES} == FLOOR.keys()


def test_no_two_public_classes_share_a_name() -> None:
    nodes = (node for module in MODULES for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef))
    counts = Counter(node.name for node in nodes if not node.name.startswith("_"))
    assert not [name for name, count in counts.items() if count > 1]


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

"""What the Tab key offers: names of a project, remembered so that they need not be loaded anew."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from imgassets.projects import Project

MEMORY = Path("imgassets", "names.json")
"""Below Dagster's home."""
Known = dict[str, Any]


def known() -> Known:
    """`assets` (asset to partitions), `groups` and `settings` of the current project; nothing if it does not load."""
    with suppress(Exception):  # a Tab key that prints a traceback is worse than one that does nothing
        project = Project.current()
        state = _state(project)
        memory = Path(os.environ.get("DAGSTER_HOME") or project.home) / MEMORY
        with suppress(OSError, ValueError):
            found: Known = json.loads(memory.read_text(encoding="utf-8"))
            if found["state"] == state:
                return found
        found = {"state": state, **_load()}
        if memory.parent.parent.is_dir():
            with suppress(OSError):
                memory.parent.mkdir(exist_ok=True)
                memory.write_text(json.dumps(found), encoding="utf-8")
        return found
    return {"assets": {}, "groups": [], "settings": []}


def _state(project: Project) -> list[list[Any]]:
    """What the names depend on: the project, its files, and the variables that decide partitions."""
    from imgassets.declared import declared_in
    from imgassets.settings import VARIABLES

    files = [(str(path), path.stat()) for path in declared_in(project.root / project.package / "defs")]
    variables = [[name, os.environ.get(name)] for name in VARIABLES if name.startswith("IMGASSETS_")]
    return [[path, stat.st_size, stat.st_mtime_ns] for path, stat in files] + variables


def _load() -> Known:
    from imgassets.environment import enter
    from imgassets.io import dagster_private
    from imgassets.operations.backfill import settings_of
    from imgassets.operations.records import records
    from imgassets.operations.selection import definitions, graph

    enter()
    assets = list(graph().assets.values())
    with records() as instance:
        partitions = {asset.name: asset.keys(instance) for asset in assets}
    return {
        "assets": partitions,
        "groups": dagster_private.groups(definitions()),
        "settings": sorted(set[str]().union(*map(settings_of, assets))),
    }


Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _of(names: Callable[[click.Context], Iterable[str]]) -> Completer:
    def complete(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names(ctx) if name.startswith(begun)]

    return complete


def selections(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Assets, also with a `+` before them, and groups."""
    found = known()
    plus = "+" if begun.startswith("+") else ""
    names = [*(plus + name for name in found["assets"]), *(f"group:{name}" for name in found["groups"])]
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def ranges(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Partitions of the selected asset, each end of A..B by itself."""
    before, dots, end = begun.partition("..")
    selection = str(ctx.params.get("selection") or ctx.params.get("key") or "").strip("+")
    assets = known()["assets"]
    keys = assets.get(selection) or dict.fromkeys(key for keys in assets.values() for key in keys)
    ahead = before + dots if dots else ""
    return [CompletionItem(ahead + key) for key in keys if key.startswith(end if dots else before)]


def _partitions(_: click.Context) -> Iterable[str]:
    return (f"{name}/{key}" for name, keys in known()["assets"].items() for key in keys)


def _settings(_: click.Context) -> Iterable[str]:
    from imgassets.settings import VARIABLES, reference

    attributes = (one["name"] for kind in reference().values() for one in kind["attributes"])
    return dict.fromkeys([*VARIABLES, *attributes])


def _topics(ctx: click.Context) -> Iterable[str]:
    from imgassets.pages import pages
    from imgassets.settings import reference

    root = ctx.find_root().command
    return [*getattr(root, "commands", ()), *reference(), *pages()]


def _bundled(_: click.Context) -> Iterable[str]:
    from imgassets.projects import PACKAGE

    return sorted(path.parent.name for path in PACKAGE.glob("defs/*/defs.yaml"))


assets = _of(lambda _: known()["assets"])
partitions = _of(_partitions)
pairs = _of(lambda _: [f"{name}=" for name in known()["settings"]])
names = _of(lambda _: known()["settings"])
settings = _of(_settings)
topics = _of(_topics)
bundled = _of(_bundled)

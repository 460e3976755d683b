"""What the YAML files of a project declare, told without Dagster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgassets.projects import Project
from imgassets.templates import filled_in

FILES = ("defs.yaml", "defs.yml", "component.yaml")
"""What Dagster loads of a folder: the first of these."""


@dataclass(frozen=True)
class Declared:
    """A dataset as its file has it."""

    kind: str
    """Its `type`, e.g. `imgassets.components.ImageFolder`."""
    file: Path
    attributes: Mapping[str, tuple[Any, int]]
    """Value and line of each, with those of a mapping as `settings.on_error`; templates are filled in."""

    @property
    def name(self) -> str:
        """The dataset's name, else its folder's."""
        return str(self.attributes.get("name", (self.file.parent.name, 0))[0])


def declared_in(folder: Path) -> Iterator[Path]:
    """Every file below `folder` that Dagster may take for a dataset, in linked folders too."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(place)) in seen:  # a link to what it lies in
            folders.clear()
            continue
        seen.add(real)
        present = {name.lower(): name for name in files}  # where names have no case, Dagster finds DEFS.YAML as well
        yield from (Path(place, present[name]) for name in FILES if name in present)


def datasets(project: Project) -> Iterator[Declared]:
    """Every dataset of a project whose file can be read as YAML; what is wrong with the others is told elsewhere."""
    from yaml import YAMLError

    for path in declared_in(project.root / project.package / "defs"):
        try:
            yield from _declared(path)
        except (OSError, ValueError, RecursionError, YAMLError):
            continue


def _declared(path: Path) -> list[Declared]:
    import yaml

    documents = map(_entries, yaml.compose_all(path.read_text(encoding="utf-8"), yaml.SafeLoader))
    return [
        Declared(str(top["type"].value), path, dict(_values(_entries(top.get("attributes")))))
        for top in documents
        if "type" in top
    ]


def _entries(node: Any) -> dict[str, Any]:
    from yaml import MappingNode

    return {str(key.value): value for key, value in node.value} if isinstance(node, MappingNode) else {}


def _values(entries: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, tuple[Any, int]]]:
    for name, node in entries.items():
        inner = {} if before else _entries(node)
        yield from _values(inner, f"{name}.")
        if not inner:
            yield before + name, (_value(node), node.start_mark.line + 1)


def _value(node: Any) -> Any:
    from yaml import SafeLoader, ScalarNode, SequenceNode

    if isinstance(node, ScalarNode):
        made = SafeLoader("").construct_object(node)
        return filled_in(made) if isinstance(made, str) else made
    if isinstance(node, SequenceNode) and all(isinstance(one, ScalarNode) for one in node.value):
        return [_value(one) for one in node.value]
    return "…"  # anchors may make more of it than a page can show

"""YAML that declares a dataset of what was recognized, and its way into a project. Loads no Dagster."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgassets.declared import datasets
from imgassets.errors import BadInput, Misunderstood
from imgassets.operations.kinds import Recognized
from imgassets.projects import Project
from imgassets.settings import OURS
from imgassets.templates import problem

PLAIN = re.compile(r"[A-Za-z_/][\w./-]*")
"""A text that YAML takes for one without quotes."""
WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Declaration:
    """A dataset that is to be."""

    name: str
    yaml: str
    link: tuple[Path, Path] | None
    """Name below the raw inputs, and what it is to lead to; None where it lies there, or need not."""


def declaration(path: Path, found: Recognized, project: Project, name: str | None = None) -> Declaration:
    """The YAML of what was recognized at a path.

    Raises:
        Misunderstood: nothing declares it, or no dataset can have this name.
    """
    path = Path(os.path.abspath(path))
    if not found.component:
        raise Misunderstood(f"{path} is {found.what}: {found.advice or 'no component reads that'}.")
    name = name or re.sub(r"\W+", "_", path.name, flags=re.ASCII).strip("_").lower() or "images"
    if not re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII):
        raise Misunderstood(f"{name!r} cannot be the name of a dataset: give one of letters and digits by --name.")
    attribute, _, inner = found.place.partition("/")
    if attribute == "repository":
        place, link = str(path / inner), None
    else:
        place, link = _place(path, raw_root(project), found.below, name)
    attributes = {"name": name, **_placed(attribute, place, inner, found.attributes)}
    if wrong := next(filter(None, map(problem, _texts(attributes))), ""):
        raise Misunderstood(f"{path} {wrong}: give it another name.")
    lines = "".join(f"  {key}: {_value(value)}\n" for key, value in attributes.items())
    return Declaration(name, f"type: {OURS}{found.component}\n\nattributes:\n{lines}", link)


def add(declared: Declaration, project: Project, link: bool) -> list[Path]:
    """Write a dataset into a project, with the link if asked for.

    Returns:
        What was written.

    Raises:
        BadInput: the project is the demo, it has such a dataset, or a link is needed.
    """
    if project.is_bundled:
        raise BadInput("There is no project here to write to: `imgassets init DIR` makes one; or name one: --project.")
    file = project.root / project.package / "defs" / declared.name / "defs.yaml"
    taken = next((one.file for one in datasets(project) if one.name == declared.name), file if file.exists() else None)
    if taken:
        raise BadInput(f"{taken} declares {declared.name} already: give another name by --name.")
    written = []
    if declared.link:
        here, target = declared.link
        if not link:
            raise BadInput(
                f"{target} lies elsewhere than the raw inputs: add --link, or `ln -s {target} {here}` first."
            )
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(target)
        written.append(here)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(declared.yaml, encoding="utf-8")
    return [*written, file]


def raw_root(project: Project) -> Path:
    """The folder of raw inputs, as `Storage` has it."""
    home = os.environ.get("DAGSTER_HOME") or project.home
    return project.root / Path(os.environ.get("IMGASSETS_RAW") or Path(home).absolute() / "raw").expanduser()


def _place(path: Path, raw: Path, below: str, name: str) -> tuple[str, tuple[Path, Path] | None]:
    """A path's name below the raw inputs, and the link that gives it one."""
    if path.is_relative_to(raw):
        return path.relative_to(raw).as_posix(), None
    here = raw / below / name
    wanted = here.relative_to(raw).as_posix()
    return wanted, None if here.exists() and here.samefile(path) else (here, path)


def _placed(attribute: str, place: str, inner: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if attribute == "splits":
        return {**given, "splits": {split: f"{place}/{folder}" for split, folder in given["splits"].items()}}
    if attribute == "root" and inner:
        return {"root": f"{place}/{inner}", **given, "labels": f"{place}/{given['labels']}"}
    return {attribute: place, **given}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for one in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value


def _value(value: Any) -> str:
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_value(key)}: {_value(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)

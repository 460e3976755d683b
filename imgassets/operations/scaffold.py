"""A project of one's own: the folder that `imgassets init` writes."""

from __future__ import annotations

import keyword
import re
import uuid
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from string import Template

from imgassets.errors import Misunderstood
from imgassets.projects import PACKAGE, Project
from imgassets.spelling import did_you_mean

TEMPLATE = PACKAGE / "template"
"""The files: `$name`, `$id` and `$home` are to be filled in, and of their own names `NAME`, `dot_` and `.in`."""


def offered() -> list[str]:
    """Names of the bundled datasets, each of which a project can begin with."""
    return sorted(path.parent.name for path in PACKAGE.glob("defs/*/defs.yaml"))


def scaffold(folder: Path, datasets: Sequence[str] = ()) -> list[Path]:
    """Write what is missing of a project into a folder, with the YAML of some bundled datasets; nothing is replaced.

    Returns:
        The files written.

    Raises:
        Misunderstood: no Python package can have the folder's name, there is no such dataset, or the folder holds
            things that are no project.
    """
    folder = folder.expanduser().absolute()
    project = _existing(folder) or Project(folder, _package(folder), str(uuid.uuid4()))
    if unknown := sorted(set(datasets) - set(offered())):
        hint = did_you_mean(unknown[0], offered())
        raise Misunderstood(f"There is no bundled dataset {unknown[0]!r}: choose among {', '.join(offered())}.{hint}")
    values = {"name": project.package, "id": str(project.id), "home": str(project.home)}
    files = {
        _place(path, project.package): Template(path.read_text(encoding="utf-8")).substitute(values)
        for path in sorted(TEMPLATE.rglob("*.in"))
    }
    for name in datasets:
        place = Path(project.package, "defs", name, "defs.yaml")
        files[place] = (PACKAGE / "defs" / name / "defs.yaml").read_text(encoding="utf-8")
    written = []
    for place, text in files.items():
        path = folder / place
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _existing(folder: Path) -> Project | None:
    """The project that a folder is; None where there is nothing yet."""
    found = Project.of(folder)
    if found is not None and found.root == folder:
        return found
    if found is not None:
        raise Misunderstood(f"{folder} lies in the project {found.root}: choose a folder outside.")
    if folder.exists() and (not folder.is_dir() or any(path.name != ".git" for path in folder.iterdir())):
        raise Misunderstood(f"{folder} is not empty and no project of imgassets: choose a folder that does not exist.")
    return None


def _package(folder: Path) -> str:
    name = re.sub(r"\W+", "_", folder.name, flags=re.ASCII).strip("_").lower()
    if not name.isidentifier() or keyword.iskeyword(name) or find_spec(name):
        raise Misunderstood(
            f"{folder}: a project is a Python package of its folder's name, and {name!r} cannot be one here, or there "
            "is one already: choose another name, e.g. my_datasets."
        )
    return name


def _place(path: Path, package: str) -> Path:
    parts = path.relative_to(TEMPLATE).with_suffix("").parts
    return Path(*(part.replace("NAME", package).replace("dot_", ".") for part in parts))

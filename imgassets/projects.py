"""A project: the folder that has datasets, and what it says of itself."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgassets.errors import BadInput, Misunderstood

VARIABLE = "IMGASSETS_PROJECT"
SETTINGS = "pyproject.toml"
PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Project:
    """A folder with `[tool.imgassets]` in its `pyproject.toml`, or what this package itself brings along."""

    root: Path
    package: str
    """Name of its Python package, which has the modules `definitions` and `defs`."""
    id: str | None = None
    """Whose its artifacts are, in every clone; None for the bundled one, which has no folder of its own."""

    @property
    def home(self) -> Path:
        """Dagster's home, where the environment names no other."""
        return self.root / "dagster_home"

    @property
    def is_bundled(self) -> bool:
        """Whether it is the demo: the datasets of the guides."""
        return self.id is None

    @classmethod
    def of(cls, path: Path) -> Project | None:
        """The project that a file or folder lies in; None if it lies in none.

        Raises:
            BadInput: the `pyproject.toml` cannot be read, or says no id or no package.
        """
        path = path.absolute()
        if path.is_relative_to(PACKAGE):
            return BUNDLED
        for folder in (path, *path.parents):
            file = folder / SETTINGS
            if file.is_file() and "imgassets" in (tool := _tools(file)):
                return cls._read(folder, tool)
        return None

    @classmethod
    def current(cls) -> Project:
        """`$IMGASSETS_PROJECT`, else the project that the working directory lies in, else the bundled one.

        Raises:
            Misunderstood: the variable names no project.
        BadInput: as `of`.
        """
        if not (named := os.environ.get(VARIABLE)):
            return cls.of(Path.cwd()) or BUNDLED
        if found := cls.of(Path(named).expanduser()):
            return found
        raise Misunderstood(
            f"{named} is no project: neither it nor a folder above has a {SETTINGS} with [tool.imgassets]. "
            f"`imgassets init {named}` makes one."
        )

    @classmethod
    def _read(cls, folder: Path, tool: dict[str, Any]) -> Project:
        match tool:
            case {"imgassets": {"id": str(id_)}, "dg": {"project": {"root_module": str(package)}}} if id_ and package:
                return cls(folder, package, id_)
        raise BadInput(
            f"{folder / SETTINGS} needs `id` in [tool.imgassets] and `root_module` in [tool.dg.project]: "
            "`imgassets init` in an empty folder shows both."
        )


BUNDLED = Project(PACKAGE.parent, PACKAGE.name)
"""The datasets of the guides: in a checkout, with `dagster_home/` beside the package."""


def _tools(file: Path) -> dict[str, Any]:
    try:
        tools = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read as TOML ({error}): mend it, or work in another folder.") from error
    return tools if isinstance(tools, dict) else {}

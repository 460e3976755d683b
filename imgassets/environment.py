"""Where raw inputs, artifacts and the platform's own notes lie."""

import os
from functools import cache, partial
from pathlib import Path
from typing import Self

import dagster as dg
from pydantic import Field

from imgassets.commit import Vault
from imgassets.engines import Engine, chosen
from imgassets.engines.choice import VARIABLE
from imgassets.errors import BadInput
from imgassets.models.settings import Compute
from imgassets.ownership import owner_of
from imgassets.projects import BUNDLED, Project

FOLDERS = ("raw", "store", "imgassets")
"""Of raw inputs, artifacts and notes, in a home."""


def dagster_home(project: Project | None = None) -> Path:
    """`$DAGSTER_HOME`, or the home of a project, by default the current one.

    Raises:
        BadInput: neither exists.
    """
    if home := os.environ.get("DAGSTER_HOME"):
        if not Path(home).is_dir():
            raise BadInput(f"DAGSTER_HOME is {home}, which is no folder: create it, or name another one.")
        return Path(home)
    project = project or Project.current()
    if project.home.is_dir():
        return project.home
    if project.is_bundled:
        raise BadInput("There is no project here: make one with `imgassets init DIR`, or set DAGSTER_HOME.")
    raise BadInput(f"{project.home} does not exist: `imgassets init {project.root}` makes what is missing.")


def enter() -> str | None:
    """Make the current project's home Dagster's in this process.

    Returns:
        Where home and vault are, if somebody's own project does not have them in its folder; the demo may.

    Raises:
        BadInput: there is no home, or the vault is no folder's path.
    """
    project = Project.current()
    home = dagster_home(project).absolute()
    os.environ["DAGSTER_HOME"] = str(home)
    if project.is_bundled:
        return None
    vault = Storage.of(project).vault.root
    if (home, vault) == (project.home, project.home / FOLDERS[1]):
        return None
    return f"home {home}, vault {vault}: named by the environment, not those of {project.root}"


def folder(given: str, meaning: str, project: Project) -> Path:
    """The folder a setting names: `~` is the user's home, and a relative path lies in the project's folder.

    Raises:
        BadInput: it is a URL, or the home of nobody.
    """
    if "://" in given:
        raise BadInput(
            f"{given} is a URL, but {meaning} is a folder: mount the bucket (mountpoint-s3, gcsfuse, rclone mount) and "
            "name the mount; to put finished artifacts behind a URL is a step of its own."
        )
    try:
        path = Path(given).expanduser()
    except RuntimeError as error:
        raise BadInput(f"{given} names {meaning}, but there is no such home: write the whole path.") from error
    return path if path.is_absolute() else _base(project) / path


def _base(project: Project) -> Path:
    """The folder that relative paths count from: the project's, or `$DAGSTER_HOME` where it has none of its own."""
    installed = project.is_bundled and not project.home.is_dir()
    return dagster_home(project).absolute() if installed else project.root


def _home(name: str) -> str:
    return str(dagster_home().absolute() / name)


@cache
def _project(root: Path) -> Project:
    return Project.of(root) or BUNDLED


class Storage(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The roots of raw inputs and artifacts, and the folder of remembered checksums."""

    raw: str = Field(
        default_factory=lambda: os.environ.get("IMGASSETS_RAW") or _home("raw"),
        description="Folder of raw inputs, only ever read. Default: $IMGASSETS_RAW, else $DAGSTER_HOME/raw.",
    )
    store: str = Field(
        default_factory=lambda: os.environ.get("IMGASSETS_STORE") or _home("store"),
        description="Folder of artifacts. Default: $IMGASSETS_STORE, else $DAGSTER_HOME/store.",
    )
    state: str = Field(
        default_factory=lambda: _home("imgassets"),
        description="Folder of remembered checksums, on a local disk. Default: $DAGSTER_HOME/imgassets.",
    )

    project: str = Field(
        default_factory=lambda: str(Project.current().root),
        description="Folder of the project that owns what is made, and that relative paths count from.",
    )

    @classmethod
    def of(cls, project: Project) -> Self:
        """Where things of a project lie: what the environment says, else in its home."""
        home = dagster_home(project).absolute()
        named = (os.environ.get("IMGASSETS_RAW"), os.environ.get("IMGASSETS_STORE"), None)
        raw, store, state = (given or str(home / name) for given, name in zip(named, FOLDERS, strict=True))
        return cls(raw=raw, store=store, state=state, project=str(project.root))

    @property
    def raw_root(self) -> Path:
        """Folder of raw inputs.

        Raises:
            BadInput: the setting is no folder's path.
        """
        return folder(self.raw, "the place of raw inputs (IMGASSETS_RAW)", self._project)

    @property
    def vault(self) -> Vault:
        """The vault, the folder of artifacts.

        Raises:
            BadInput: a setting is no folder's path.
        """
        project = self._project
        state = folder(self.state, "the place of remembered checksums", project)
        store = folder(self.store, "the vault (IMGASSETS_STORE)", project)
        return Vault(store, state, partial(owner_of, project, state))

    @property
    def _project(self) -> Project:
        return _project(Path(self.project))

    def raw_checksums(self, *paths: Path) -> dict[str, str]:
        """XXH3-128 of raw files, by their path below the raw root: what a recipe lists as inputs."""
        checksums = self.vault.checksums
        return {path.relative_to(self.raw_root).as_posix(): checksums.of(path) for path in paths}


class EngineSetting(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Who makes the partitions of a run."""

    engine: str = Field(
        default_factory=lambda: os.environ.get(VARIABLE) or "local",
        description="local, processes (as many as processors for each concurrent run) or processes:N. "
        "Default: $IMGASSETS_ENGINE, else local.",
    )

    def of(self, concurrent_runs: int) -> Engine:
        """The engine; raises BadInput for a word that means nothing."""
        return chosen(self.engine, concurrent_runs)


class Device(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What a network runs on. Steps that use it are in Dagster's pool `gpu`, whose limit keeps them off one another."""

    device: str = Field(default="auto", description="auto (CUDA, else MPS, else CPU), cuda, mps or cpu.")
    dtype: str = Field(default="float32", description="float32, tf32 (CUDA only) or bf16.")
    compile: bool = Field(default=False, description="torch.compile: a minute at first, repaid by long runs.")
    max_batch: int | None = Field(
        default=None,
        description="Most samples computed at once; halved further when memory runs out. Default: no limit.",
    )

    def compute(self, dtype: str | None = None) -> Compute:
        """The settings as a value; `dtype` overrides the resource's.

        Raises:
            BadInput: a word that means nothing.
        """
        return Compute(self.device, dtype or self.dtype, self.compile)  # type: ignore[arg-type]

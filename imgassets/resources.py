"""Where raw inputs, artifacts and the platform's own notes lie."""

import os
from functools import partial
from pathlib import Path

import dagster as dg
from pydantic import Field

from imgassets.commit import Vault
from imgassets.errors import BadInput
from imgassets.models.settings import Compute
from imgassets.ownership import owner_of


def dagster_home() -> Path:
    """`$DAGSTER_HOME`, or the `dagster_home` folder of the checkout this package runs from.

    Raises:
        BadInput: neither exists.
    """
    if home := os.environ.get("DAGSTER_HOME"):
        if not Path(home).is_dir():
            raise BadInput(f"DAGSTER_HOME is {home}, which is no folder: create it, or name another one.")
        return Path(home)
    checkout = Path(__file__).parents[1] / "dagster_home"
    if checkout.is_dir():
        return checkout
    raise BadInput("DAGSTER_HOME is not set: `make .venv` writes it into .env, or export an absolute path.")


def folder(given: str, meaning: str) -> Path:
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
    return path if path.is_absolute() else _project() / path


def _project() -> Path:
    """The folder that relative paths count from: the checkout this package runs from, else `$DAGSTER_HOME`."""
    checkout = Path(__file__).parents[1]
    return checkout if (checkout / "dagster_home").is_dir() else dagster_home().absolute()


def _home(name: str) -> str:
    return str(dagster_home().absolute() / name)


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

    @property
    def raw_root(self) -> Path:
        """Folder of raw inputs.

        Raises:
            BadInput: the setting is no folder's path.
        """
        return folder(self.raw, "the place of raw inputs (IMGASSETS_RAW)")

    @property
    def vault(self) -> Vault:
        """The vault, the folder of artifacts.

        Raises:
            BadInput: a setting is no folder's path.
        """
        state = folder(self.state, "the place of remembered checksums")
        return Vault(folder(self.store, "the vault (IMGASSETS_STORE)"), state, partial(owner_of, state))

    def raw_checksums(self, *paths: Path) -> dict[str, str]:
        """XXH3-128 of raw files, by their path below the raw root: what a recipe lists as inputs."""
        checksums = self.vault.checksums
        return {path.relative_to(self.raw_root).as_posix(): checksums.of(path) for path in paths}


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

"""Who makes datasets here, and so may remove what is left of them."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from imgassets.commit import Owner
from imgassets.commit.durable import fsync_folder
from imgassets.commit.sink import write_durably
from imgassets.errors import StoreError
from imgassets.projects import Project

BUNDLED = frozenset({"ct_rate", "dmd2", "ilsvrc2012", "imagenet64", "mini", "mini_dense"})
"""Datasets that come with this package: whoever has it declares them."""


def owner_of(project: Project, state: Path, dataset: str) -> Owner:
    """Who owns a dataset that a project declares; `state` is the folder of the home's own notes.

    Raises:
        OSError: the home's id cannot be kept.
    """
    if project.id:
        file = state / "id"
        return Owner(project.id, project.package, _read(file) if file.exists() else None)
    return Owner("imgassets" if dataset in BUNDLED else home_id(state))


def home_id(state: Path) -> str:
    """Id of a home that makes datasets which are of no project, made at first need.

    Raises:
        OSError: it cannot be kept.
    """
    file = state / "id"
    if not file.exists():
        state.mkdir(parents=True, exist_ok=True)
        fresh = state / f".id.{uuid.uuid4().hex}"
        write_durably(fresh, f"{uuid.uuid4()}\n".encode())
        with suppress(FileExistsError):  # another process was first
            os.link(fresh, file)
        fresh.unlink()
        fsync_folder(state)
    return _read(file)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError as error:
        raise StoreError(
            f"{file} is damaged: put back what it said, or remove it; the home then counts as another one."
        ) from error

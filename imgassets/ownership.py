"""Who makes datasets here, and so may remove what is left of them."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from imgassets.commit.publish import fsync_folder
from imgassets.commit.sink import write_durably

BUNDLED = frozenset({"ct_rate", "dmd2", "ilsvrc2012", "imagenet64", "mini", "mini_dense"})
"""Datasets that come with this package: whoever has it declares them."""


def owner_of(state: Path, dataset: str) -> str:
    """Id of the owner of a dataset that is declared here; `state` is the folder of this home's own notes."""
    return "imgassets" if dataset in BUNDLED else project_id(state)


def project_id(state: Path) -> str:
    """Id of the project that declares datasets of its own here, made at first need.

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
    return file.read_text(encoding="ascii").strip()

"""Finished partitions linked into the folder that a guide shows, so that its own commands and snippets run there."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from imgassets.errors import BadInput, MissingUpstream
from imgassets.io.artifacts import Artifact
from imgassets.operations.graph import Asset


def view(asset: Asset, partitions: list[str], folder: Path) -> list[Path]:
    """Link every file of the finished partitions into `folder`, which is made; returns the links.

    Files lie flat; those whose name several partitions have lie in a folder of their partition's name. Links of an
    earlier view whose file is gone are removed, others replaced; nothing that is no link is touched.

    Raises:
        MissingUpstream: no partition is finished.
        BadInput: something that is no link is in the way.
    """
    files = [(partition, file) for partition in partitions for file in _files(asset.artifact(partition))]
    if not files:
        raise MissingUpstream(f"No partition of {asset.name} is finished: materialize one first.")
    names = Counter(file.name for _, file in files)
    for old in folder.rglob("*"):
        if old.is_symlink() and not old.exists():
            old.unlink()
    links = []
    for partition, file in files:
        link = folder / file.name if names[file.name] == 1 else folder / partition / file.name
        _link(link, file)
        links.append(link)
    return links


def _files(artifact: Artifact) -> list[Path]:
    try:
        return [artifact.location.file(record.name) for record in artifact.manifest.files]
    except MissingUpstream:
        return []


def _link(link: Path, file: Path) -> None:
    if link.exists() and not link.is_symlink():
        raise BadInput(f"{link} is no link: name another folder, or move it away.")
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.link")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(file.absolute())
    os.replace(fresh, link)

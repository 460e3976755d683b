"""Finished partitions linked into the folder that a guide shows, so that its own commands and snippets run there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from imgassets.errors import BadInput, MissingUpstream
from imgassets.io.activations import ActivationsIOManager
from imgassets.io.artifacts import Artifact
from imgassets.operations.activation_tree import activation_tree
from imgassets.operations.graph import Asset

MADE = ".imgassets"
"""Folder of a view for what is made for it rather than linked."""


def view(asset: Asset, partitions: list[str], folder: Path) -> list[Path]:
    """Link every file of the finished partitions into `folder`, which is made; returns the links.

    Files lie flat; those whose name several partitions have lie in a folder of their partition's name. Activations lie
    as their guide shows, with what it makes beside them. Links of an earlier view whose file is gone are removed,
    others replaced; nothing that is no link is touched.

    Raises:
        MissingUpstream: no partition is finished.
        BadInput: something that is no link is in the way.
    """
    finished = [artifact for artifact in map(asset.artifact, partitions) if _files(artifact)]
    if not finished:
        raise MissingUpstream(f"No partition of {asset.name} is finished: materialize one first.")
    for old in folder.rglob("*"):
        if old.is_symlink() and not old.exists():
            old.unlink()
    links = []
    tree = activation_tree if isinstance(asset.io_manager, ActivationsIOManager) else _flat
    for name, content in tree(finished):
        _link(folder / name, content if isinstance(content, Path) else _made(folder / MADE / name, content))
        links.append(folder / name)
    return links


def _flat(artifacts: Iterable[Artifact]) -> Iterator[tuple[str, Path]]:
    files = [(artifact.partition, file) for artifact in artifacts for file in _files(artifact)]
    names = Counter(file.name for _, file in files)
    for partition, file in files:
        yield (file.name if names[file.name] == 1 else f"{partition}/{file.name}"), file


def _made(path: Path, content: bytes) -> Path:
    """Keep what no partition has as a file, such as a guide's overview of all of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


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

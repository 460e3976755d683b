"""Finished partitions linked into the folder that a guide shows, so that its own commands and snippets run there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from imgassets.errors import MissingUpstream
from imgassets.formats.ct_training import training_yaml
from imgassets.io.activations import ActivationsIOManager
from imgassets.io.artifacts import Artifact
from imgassets.io.ct_rate import CtManifestIOManager
from imgassets.operations.activation_tree import activation_tree
from imgassets.operations.links import OWN, Links
from imgassets.operations.selection import Asset


def view(asset: Asset, partitions: list[str], folder: Path) -> list[Path]:
    """Link every file of the finished partitions into `folder`, which is made; returns the links.

    Files lie as in their partition; those whose name several partitions have, in a folder of their partition's name.
    Activations lie as their guide shows, with what it makes beside them. Links of an earlier view whose file is gone
    are removed, others replaced; what no view made is never touched.

    Raises:
        MissingUpstream: no partition is finished.
        BadInput: something that no view made is in the way; nothing has been changed then.
    """
    finished = [artifact for artifact in map(asset.artifact, partitions) if _files(artifact)]
    if not finished:
        raise MissingUpstream(f"No partition of {asset.name} is finished: materialize one first.")
    tree = _tree(asset)
    links, made = Links(folder), (folder / OWN).absolute()

    def target(name: str, content: Path | bytes) -> Path:
        return content.absolute() if isinstance(content, Path) else made / name

    links.refuse_others({name: target(name, content) for name, content in tree(finished)})
    made.mkdir(parents=True, exist_ok=True)
    links.remove_dangling()
    paths = []
    try:
        for name, content in tree(finished):
            if isinstance(content, bytes):
                _make(made / name, content)
            paths.append(links.link(name, target(name, content)))
    finally:
        links.save()
    return paths


def _tree(asset: Asset) -> Callable[[Iterable[Artifact]], Iterator[tuple[str, Path | bytes]]]:
    if isinstance(asset.io_manager, ActivationsIOManager):
        return activation_tree
    return _with_training if isinstance(asset.io_manager, CtManifestIOManager) else _together


def _with_training(artifacts: Iterable[Artifact]) -> Iterator[tuple[str, Path | bytes]]:
    """Manifests of splits, and what the guide's training reads of them."""
    found = list(artifacts)
    yield from _together(found)
    shards = {one.partition: int(one.manifest.facts["total_shards"]) for one in found}
    yield "training.yaml", training_yaml({one.partition: one.location.path.parent for one in found}, shards)


def _together(artifacts: Iterable[Artifact]) -> Iterator[tuple[str, Path]]:
    files = [(artifact.partition, name, path) for artifact in artifacts for name, path in _files(artifact)]
    names = Counter(name for _, name, _ in files)
    for partition, name, path in files:
        yield (name if names[name] == 1 else f"{partition}/{name}"), path


def _make(path: Path, content: bytes) -> None:
    """Keep what no partition has as a file, such as a guide's overview of all of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _files(artifact: Artifact) -> list[tuple[str, Path]]:
    try:
        return [(record.name, artifact.location.file(record.name)) for record in artifact.manifest.files]
    except MissingUpstream:
        return []

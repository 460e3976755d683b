"""Where a partition comes from: every artifact and raw file it is made from, down to the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from imgassets.commit import Manifest
from imgassets.environment import Storage
from imgassets.errors import ImgassetsError, Misunderstood
from imgassets.io.excerpts import still_says
from imgassets.planning.graph import Asset, Graph
from imgassets.spelling import did_you_mean


@dataclass(frozen=True)
class Ancestor:
    """One artifact or raw file."""

    depth: int
    name: str
    checksum: str
    """That it, or what is read of it, had when the one above was made from it."""
    manifest: Manifest | None
    """Of an artifact that is there."""
    changed: bool
    """Whether it has another checksum by now, or is gone."""


def trace(graph: Graph, name: str) -> Iterator[Ancestor]:
    """The partition `name` (`imagenet64/csv_sample/train`), then all it is made from, each once, depth first.

    Raises:
        Misunderstood: there is no such asset.
        MissingUpstream, StoreError: the partition is missing or damaged.
    """
    asset, partition = named(graph, name)
    manifest = asset.artifact(partition).manifest
    yield Ancestor(0, name, manifest.checksum, manifest, changed=False)
    yield from _ancestors(graph, manifest, 1, {name})


def _ancestors(graph: Graph, manifest: Manifest, depth: int, seen: set[str]) -> Iterator[Ancestor]:
    for name, checksum in manifest.recipe.inputs.items():
        if name in seen:
            continue
        seen.add(name)
        asset, partition = find(graph, name)
        if asset is None:
            yield Ancestor(depth, name, checksum, None, changed=_raw_changed(graph, name, checksum))
            continue
        artifact = asset.artifact(partition)
        try:
            there, same = artifact.manifest, still_says(artifact.manifest, artifact.open, checksum)
        except ImgassetsError:
            yield Ancestor(depth, name, checksum, None, changed=True)
            continue
        yield Ancestor(depth, name, checksum, there, changed=not same)
        yield from _ancestors(graph, there, depth + 1, seen)


def find(graph: Graph, name: str) -> tuple[Asset | None, str]:
    """The asset and the partition that `key/partition` names; None if there is no such asset."""
    key, _, partition = name.rpartition("/")
    return (graph.assets.get(dg.AssetKey(key.split("/"))) if key else None), partition


def named(graph: Graph, name: str) -> tuple[Asset, str]:
    """The asset and the partition that `key/partition` names; whether the partition exists is not asked.

    Raises:
        Misunderstood: there is no such asset.
    """
    asset, partition = find(graph, name)
    if asset is None:
        key, known = name.rpartition("/")[0], [asset.name for asset in graph.assets.values()]
        hint = did_you_mean(key or name, known) or " For example imagenet64/csv_sample/train."
        if name in known:
            hint = f" `imgassets status {name} --partitions` lists them."
        raise Misunderstood(f"{name!r} names no partition: write it as KEY/PARTITION.{hint}")
    return asset, partition


def _raw_changed(graph: Graph, name: str, checksum: str) -> bool:
    """Whether a raw file is another one by now; what is no file of the raw folder, such as a commit, stays as it is."""
    storage: Storage = graph.resources["storage"]
    path = storage.raw_root / name
    return path.is_file() and storage.vault.checksums.of(path) != checksum

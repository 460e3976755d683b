"""What lies in the vault and serves nobody: stages of writers that died, and artifacts that no dataset declares.

Only what records prove to be of our own datasets is ever removed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from imgassets.commit import Location, Manifest, Vault, load, lock, owners, removal
from imgassets.commit.stage import MANIFEST
from imgassets.commit.versions import current
from imgassets.environment import Storage
from imgassets.errors import ImgassetsError
from imgassets.planning.graph import Graph


@dataclass(frozen=True)
class Garbage:
    """One thing that can go."""

    location: Location
    stage: bool
    """Only the stage beside it."""
    bytes: int
    reason: str
    ours: bool
    """Whether records prove that it may go; all else is left."""

    @property
    def path(self) -> Path:
        """What it is."""
        return self.location.stage if self.stage else self.location.path

    @property
    def name(self) -> str:
        """Its path below the vault's root."""
        return self.path.relative_to(self.location.root).as_posix()


def reachable(roots: Iterable[str], inputs: Mapping[str, Collection[str]]) -> set[str]:
    """Names that `roots` are made from, directly or not, and the roots themselves."""
    found, waiting = set[str](), list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += inputs.get(name, ())
    return found


def garbage(graph: Graph, instance: dg.DagsterInstance) -> list[Garbage]:
    """Everything that serves nobody here. What any declared partition is made from stays, declared itself or not."""
    storage: Storage = graph.resources["storage"]
    vault = storage.vault
    declared = {
        f"{asset.name}/{key}": asset.artifact(key).location
        for asset in graph.assets.values()
        for key in asset.keys(instance)
    }
    found = dict(_artifacts(vault))
    names = {location: f"{m.recipe.artifact}/{m.recipe.partition}" for location, m in found.items()}
    inputs = {names[location]: manifest.recipe.inputs for location, manifest in found.items()}
    kept = reachable(declared, inputs)
    homes = {location.path for location in declared.values()}
    why = "no dataset declares {}"
    orphans = [
        Garbage(location, False, manifest.total_bytes, why.format(names[location]), vault.owns(location))
        for location, manifest in found.items()
        if location.path not in homes and names[location] not in kept
    ]
    return sorted([*_stages(vault), *orphans], key=lambda item: item.path)


def remove(items: Iterable[Garbage]) -> Iterator[Garbage]:
    """Remove what is ours; what a writer holds by now stays. Gives what is gone."""
    for item in items:
        with suppress(ImgassetsError):
            if item.ours:
                removal.remove(item.location, stage_only=item.stage)
                owners.release(item.location)
                yield item


def _artifacts(vault: Vault) -> Iterator[tuple[Location, Manifest]]:
    for folder, folders, names in os.walk(vault.root):
        here = Path(folder)
        hidden = [name for name in folders if name.startswith(".") and name != ".imgassets"]
        folders[:] = [name for name in folders if name not in hidden]
        for path in (here / name for name in folders if current(here / name)):  # a link, into which no walk goes
            with suppress(ImgassetsError, FileNotFoundError):
                yield Location(vault.root, path, folder=True), load(path / MANIFEST)
        with suppress(ImgassetsError, FileNotFoundError):
            if here.name == ".imgassets":
                for name in names:
                    if name.endswith(".json"):
                        location = Location(vault.root, here.parent / name.removesuffix(".json"), folder=False)
                        yield location, load(here / name)
            elif MANIFEST in names:
                folders.clear()
                yield Location(vault.root, here, folder=True), load(here / MANIFEST)


def _stages(vault: Vault) -> Iterator[Garbage]:
    for folder, folders, _ in os.walk(vault.root):
        for name in folders:
            if name.startswith(".") and name.endswith(".stage"):
                path = Path(folder, name)
                location = Location(vault.root, path.with_name(name[1:].removesuffix(".stage")), folder=True)
                if not lock.held(location):
                    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                    ours = vault.owns(location) and removal.is_stage(path)
                    yield Garbage(location, True, size, "left by a writer that died; a rerun would take it up", ours)
        folders[:] = [name for name in folders if not name.startswith(".")]

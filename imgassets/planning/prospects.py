"""What a run would do to a partition, and why, told without doing it: nothing is read but headers, nothing written."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from imgassets.commit import FileRecord, Manifest, Recipe
from imgassets.commit.peek import PeekVault
from imgassets.environment import Storage
from imgassets.errors import ImgassetsError, MissingUpstream, StoreError, Unforeseen
from imgassets.io.artifacts import Artifact, Artifacts, Build, Estimate
from imgassets.planning.graph import Asset, Graph


class Verdict(Enum):
    """What a run would do."""

    BUILD = "build"
    KEEP = "keep"
    CANNOT = "cannot"
    UNREAD = "unread"
    """Inputs have to be read first, which were copied, moved or touched since they were; then it is kept, or built."""


@dataclass(frozen=True)
class Prospect:
    """One partition."""

    asset: Asset
    partition: str
    verdict: Verdict
    reason: str
    """Why, in a few words."""
    manifest: Manifest | None
    """What is there now."""
    recipe: Recipe | None = None
    """What would be there."""
    build: Build | None = None
    unread: Mapping[Path, int] = field(default_factory=dict)
    """Size in bytes of the raw files that have not been read since they changed, moved or were touched."""

    @property
    def name(self) -> str:
        """E.g. `imagenet64/arrays/val_data`."""
        return f"{self.asset.name}/{self.partition}"

    @property
    def stale(self) -> bool:
        """There is a version, but another one would be made now."""
        return self.manifest is not None and self.verdict is Verdict.BUILD

    @cached_property
    def estimate(self) -> Estimate | None:
        """What the asset says of the size of its partition; None where it says nothing, or cannot yet."""
        try:
            return self.build.estimate() if self.build and self.build.estimate else None
        except ImgassetsError:
            return None


def _peeking(storage: Storage) -> tuple[Storage, PeekVault]:
    """The storage as plans see it."""
    peeked = PeekVault(storage.vault.root, storage.vault.state)

    class Peeking(Storage):
        @property
        def vault(self) -> PeekVault:
            return peeked

    return Peeking(raw=storage.raw, store=storage.store, state=storage.state), peeked


@dataclass(frozen=True)
class _Expected(Artifact):
    """A partition that is about to be made: its checksum is not known, but what is made from it can be told."""

    expected: Manifest = field(kw_only=True)

    @cached_property
    def manifest(self) -> Manifest:
        return self.expected

    def read(self, columns: Iterable[str], facts: Iterable[str] = ()) -> dict[str, str]:
        return self.as_input

    def open(self) -> Any:
        raise Unforeseen(f"{self.asset}/{self.partition} is made first")


class _Facts(dict[str, Any]):
    """What is known beforehand of a partition that is about to be made."""

    def __missing__(self, name: str) -> Any:
        raise Unforeseen(f"its upstream is made first, and tells {name!r}")


class Prospects:
    """Prospects of a graph's partitions, each found once.

    Args:
        config: run configuration by asset.
        making: assets that are made in the same go, so that what is made from them counts on their new version.
        force: whether everything is made again.
        trusting: whether a partition counts as unread, not as to be built, if only inputs that have not been read
            since they moved could make it differ.
    """

    def __init__(
        self,
        graph: Graph,
        instance: dg.DagsterInstance,
        *,
        config: Mapping[dg.AssetKey, Mapping[str, Any]] | None = None,
        making: Collection[dg.AssetKey] = (),
        force: bool = False,
        trusting: bool = False,
    ) -> None:
        self._graph, self._trusting = graph, trusting
        self._instance = instance
        self._config = config or {}
        self._making = making
        self._force = force
        self._found: dict[tuple[dg.AssetKey, str], Prospect] = {}
        self._builds: dict[dg.AssetKey, Any] = {}
        self._artifacts: dict[tuple[dg.AssetKey, str], Artifact] = {}
        self._counted: set[Path] = set()
        self._storage, self._vault = _peeking(graph.resources["storage"])
        self._resources = {**graph.resources, "storage": self._storage}

    def of(self, asset: Asset, partition: str) -> Prospect:
        """What a run would do to one partition."""
        place = asset.key, partition
        if place not in self._found:
            self._found[place] = self._find(asset, partition)
        return self._found[place]

    def input_bytes(self, prospect: Prospect) -> int | None:
        """Size of everything a partition is made from; None where an input's size cannot be told."""
        sizes = [self._size(name) for name in prospect.recipe.inputs] if prospect.recipe else [None]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def identity(self, prospect: Prospect) -> str:
        """A fingerprint of the recipe by size and time of its raw files: it does not change when they are read."""
        if prospect.recipe is None:
            return ""
        files = {path.relative_to(self._storage.raw_root).as_posix(): path for path in self.raw_files(prospect)}
        inputs = {
            name: self._vault.checksums.stand_in(files[name]) if name in files else checksum
            for name, checksum in prospect.recipe.inputs.items()
        }
        return replace(prospect.recipe, inputs=inputs).fingerprint

    def raw_files(self, prospect: Prospect) -> list[Path]:
        """The files below the raw root that a partition is made from."""
        names = prospect.recipe.inputs if prospect.recipe else ()
        return [path for name in names if (path := self._storage.raw_root / name).is_file()]

    def unread_bytes(self, prospect: Prospect) -> int:
        """Size of the raw inputs that have to be read for their checksums first, and were not counted before."""
        new = set(prospect.unread) - self._counted
        self._counted |= new
        return sum(prospect.unread[path] for path in new)

    def unproven_bytes(self, prospect: Prospect) -> int:
        """Size of the files that are there, but have to be read to prove that they are unchanged."""
        location, checksums = prospect.asset.artifact(prospect.partition).location, self._vault.checksums
        records = prospect.manifest.files if prospect.manifest else ()
        return sum(record.bytes for record in records if checksums.known(location.file(record.name)) is None)

    def _size(self, name: str) -> int | None:
        key, _, partition = name.rpartition("/")
        try:
            if key and (asset := self._graph.assets.get(dg.AssetKey(key.split("/")))):
                return self._artifact(asset, partition).manifest.total_bytes
            path = self._storage.raw_root / name
            return path.stat().st_size if path.is_file() else None
        except (ImgassetsError, OSError):
            return None

    def _find(self, asset: Asset, partition: str) -> Prospect:
        asked = dict(self._vault.stood_in)  # by a partition whose build looks at this one
        self._vault.stood_in.clear()
        try:
            return self._judge(asset, partition)
        finally:
            self._vault.stood_in.clear()
            self._vault.stood_in.update(asked)

    def _judge(self, asset: Asset, partition: str) -> Prospect:
        current, damage = self._current(asset, partition)
        try:
            build = self._build(asset, partition)
        except Unforeseen as error:
            return Prospect(asset, partition, Verdict.BUILD, str(error), current)
        except ImgassetsError as error:
            if not (self._trusting and self._vault.stood_in):
                return Prospect(asset, partition, Verdict.CANNOT, str(error), current)
            verdict, reason = (Verdict.UNREAD, self._why_unread()) if current else (Verdict.BUILD, "missing")
            return Prospect(asset, partition, verdict, reason, current, unread=dict(self._vault.stood_in))
        recipe = build.recipe(asset.name, partition, asset.io_manager.format, asset.code_version)
        unread = dict(self._vault.stood_in)
        if self._force:
            reason = "forced"
        elif damage:
            reason = damage
        elif current is None:
            reason = "missing"
        else:
            reason = difference(current.recipe, recipe)
        verdict = Verdict.BUILD if reason else Verdict.KEEP
        if current and reason and not damage and unread and self._trusting and not self._force:
            kept = {k: v for k, v in current.recipe.inputs.items() if k in recipe.inputs and self._is_raw(asset, k)}
            reason = difference(current.recipe, replace(recipe, inputs={**recipe.inputs, **kept}))
            if not reason:
                verdict, reason = Verdict.UNREAD, self._why_unread()
        if not reason and self._trusting and (name := next(filter(self._is_unread, recipe.inputs), None)):
            verdict, reason = Verdict.UNREAD, f"{name} is unknown until its inputs are read"
        reason = (reason or "unchanged") + _as_before(build)
        return Prospect(asset, partition, verdict, reason, current, recipe, build, unread)

    def _is_unread(self, name: str) -> bool:
        """Whether an input is a partition made in the same go, of which it is not known that it is kept."""
        key, _, partition = name.rpartition("/")
        asset = self._graph.assets.get(dg.AssetKey(key.split("/"))) if key else None
        return asset is not None and asset.key in self._making and self.of(asset, partition).verdict is Verdict.UNREAD

    def _why_unread(self) -> str:
        path, *others = self._vault.stood_in
        raw = self._storage.raw_root
        name = path.relative_to(raw).as_posix() if path.is_relative_to(raw) else path.name
        more = f" (and {len(others)} more files)" if others else ""
        return f"{name}{more} was copied, moved or touched since it was read"

    def _is_raw(self, asset: Asset, name: str) -> bool:
        """Whether an input is no upstream artifact."""
        return not name.startswith(tuple(f"{self._graph.assets[key].name}/" for key in asset.upstream.values()))

    def _current(self, asset: Asset, partition: str) -> tuple[Manifest | None, str]:
        """The version that is there, and what is wrong with it."""
        try:
            artifact = asset.artifact(partition)
            manifest = artifact.vault.manifest(artifact.location)
        except MissingUpstream:
            return None, ""
        except (StoreError, OSError) as error:
            return None, f"damaged: {error}"
        checksums = self._vault.checksums
        for record in manifest.files:
            known = checksums.known(artifact.location.file(record.name))
            if known not in (None, record.xxh3_128):
                return None, f"damaged: {record.name} has another checksum than its manifest says"
        return manifest, ""

    def _build(self, asset: Asset, partition: str) -> Build:
        if asset.key not in self._builds:
            self._builds[asset.key] = asset.builds(
                self._resources,
                {name: self._inputs(self._graph.assets[key]) for name, key in asset.upstream.items()},
                self._config.get(asset.key, {}),
            )
        build: Build = self._builds[asset.key].of(partition, asset.artifact(partition).location)
        return build

    def _inputs(self, asset: Asset) -> Artifacts:
        return Artifacts(asset.keys(self._instance), lambda partition: self._artifact(asset, partition))

    def _artifact(self, asset: Asset, partition: str) -> Artifact:
        """An upstream partition as the assets that are made from it will find it."""
        place = asset.key, partition
        if place not in self._artifacts:
            artifact = asset.artifact(partition)
            artifact = replace(artifact, opener=cache(artifact.opener))  # what several look into is read once
            if asset.key in self._making:
                prospect = self.of(asset, partition)
                if prospect.verdict is Verdict.BUILD and not _same_again(prospect):
                    artifact = _expected(artifact, prospect)
            self._artifacts[place] = artifact
        return self._artifacts[place]


def difference(old: Recipe, new: Recipe) -> str:
    """What made a version differ from the one that would be made now, in a few words; empty if nothing does."""
    if new.makes(old):
        return ""
    old, found = old.in_terms_of(new), []
    inputs = [name for name in {**old.inputs, **new.inputs} if old.inputs.get(name) != new.inputs.get(name)]
    if inputs:
        name = inputs[0]
        word = "changed" if name in old.inputs and name in new.inputs else "new" if name in new.inputs else "gone"
        found.append(f"{name} {word}" + (f" and {len(inputs) - 1} more inputs" if len(inputs) > 1 else ""))
    for name in sorted({**old.config, **new.config}):
        before, after = (recipe.config.get(name, new.defaults.get(name)) for recipe in (old, new))
        if before != after:
            found.append(f"{name} {before} → {after}")
    for what in ("format", "code_version"):
        if getattr(old, what) != getattr(new, what):
            found.append(f"{what.replace('_', ' ')} {getattr(old, what)} → {getattr(new, what)}")
    return ", ".join(found) or "recipe changed"


def _as_before(build: Build) -> str:
    """What is made as it was asked for before, and not as the dataset declares it."""
    return "".join(f"; {name} {value} as asked for before" for name, value in build.remembered.items())


def _same_again(prospect: Prospect) -> bool:
    """Whether the same bytes would be made: the same recipe gives them."""
    if prospect.manifest is None or prospect.recipe is None:
        return False
    return prospect.recipe.makes(prospect.manifest.recipe)


def _expected(artifact: Artifact, prospect: Prospect) -> Artifact:
    if prospect.recipe is None:
        raise Unforeseen(prospect.reason)
    estimate = prospect.estimate or Estimate(prospect.manifest.total_bytes if prospect.manifest else 0)
    record = FileRecord("expected", estimate.write, prospect.recipe.fingerprint)
    facts = _Facts() if estimate.rows is None else _Facts(rows=estimate.rows)
    manifest = Manifest(prospect.recipe, (record,), facts)
    return _Expected(
        artifact.asset, artifact.partition, artifact.location, artifact.vault, artifact.opener, expected=manifest
    )

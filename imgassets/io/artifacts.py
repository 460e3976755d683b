"""What assets hand over and receive: recipes for partitions on the way out, lazily opened artifacts on the way in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from imgassets.commit import Location, Manifest, Recipe, Vault
from imgassets.commit.manifest import unsaid
from imgassets.errors import MissingUpstream, StoreError
from imgassets.io.asked import Asked
from imgassets.io.excerpts import Excerpt, excerpt
from imgassets.io.samples import Rows


@dataclass(frozen=True)
class Estimate:
    """What making a partition costs, told beforehand from headers."""

    write: int
    """Bytes of its files."""
    rows: int | None = None
    """Samples in it: the manifest's fact of that name."""
    read: int | None = None
    """Bytes read; None: all of the inputs."""
    memory: int | None = None
    """Peak bytes of memory beyond what the process has anyway."""
    seconds: float | None = None
    """How long it takes where nothing was made before; None: as long as the bytes take."""


@dataclass(frozen=True)
class Build:
    """How one partition is made: what decides its bytes, and its content, asked for only if needed."""

    content: Callable[[], Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Checksum by name of everything that is read."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Settings that change the bytes, as JSON values."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values that settings have unless somebody says otherwise. One that has its default is not in the recipe, so that
    a setting that is added later makes nothing stale; for the same reason a default never changes."""
    estimate: Callable[[], Estimate] | None = None
    """What it costs, if that can be told without making it; reads headers at most."""
    remembered: Mapping[str, Any] = field(default_factory=dict)
    """Settings that an earlier run was asked for, and that hold still."""
    kept: tuple[str, ...] = ()
    """Earlier formats that do as well: what was written in them stays current."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What is to be remembered of such settings."""

    def recipe(self, asset: str, partition: str, format_: str, code_version: str) -> Recipe:
        """What decides the partition's bytes."""
        return Recipe(
            asset,
            partition,
            {name: str(checksum) for name, checksum in self.inputs.items()},
            unsaid(self.config, self.defaults),
            format_,
            code_version,
            self.defaults,
            {name: checksum.whole for name, checksum in self.inputs.items() if isinstance(checksum, Excerpt)},
            self.kept,
        )


@dataclass(frozen=True)
class Said:
    """What an asset was called with, from which another process derives what it returned."""

    inputs: Mapping[str, Sequence[str]]
    """Partitions by name of the input."""
    config: Mapping[str, Any]
    """Run configuration, as JSON values."""


@dataclass(frozen=True)
class Builds:
    """What an asset returns: the way to make each of its partitions, asked for one after the other.

    Example:
        >>> @dg.asset(partitions_def=letters, io_manager_key="text")
        ... def shout(context, config: BuildConfig, whisper: Artifacts) -> Builds:
        ...     def build(key: str) -> Build:
        ...         source = whisper[key]
        ...         return Build(lambda: source.open().upper(), inputs=source.as_input)
        ...     return Builds(build, force=config.force)
    """

    build: Callable[[str], Build]
    force: bool = False
    rows: Callable[[Artifact], Rows] | None = None
    """Which samples the rows of a finished partition are, if it has such."""
    asked: Asked | None = None
    """What is asked for in this run, where the asset has settings to ask for."""
    said: Said | None = None
    """What they are derived from; None if this process alone is to make them."""

    def of(self, key: str, location: Location) -> Build:
        """How a partition is made, with what was asked for when the version at `location` was."""
        if self.asked is None:
            return self.build(key)
        remembered = self.asked.remembered(location)
        builds = self.asked.under(json.dumps(remembered)) if remembered else self
        return replace(builds.build(key), remembered=remembered, notes=self.asked.notes(remembered))


@dataclass(frozen=True)
class Artifact:
    """One partition of an upstream asset, opened when it is looked into."""

    asset: str
    partition: str
    location: Location
    vault: Vault
    opener: Callable[[Location], Any]

    @cached_property
    def manifest(self) -> Manifest:
        """The commit record.

        Raises:
            MissingUpstream, StoreError: there is none, or files are missing or of the wrong size.
        """
        try:
            return self.vault.manifest(self.location)
        except MissingUpstream:
            raise MissingUpstream(
                f"{self.asset} has no partition {self.partition} yet ({self.location.path} does not exist): "
                f"materialize it first, e.g. `imgassets backfill {self.asset} --partitions {self.partition}`."
            ) from None

    @property
    def as_input(self) -> dict[str, str]:
        """Its name and checksum, for the recipe of what is made from it."""
        return {f"{self.asset}/{self.partition}": self.manifest.checksum}

    def read(self, columns: Iterable[str], facts: Iterable[str] = ()) -> dict[str, str]:
        """Its name and the checksum of what is read of it, an index: some columns, and facts of its manifest."""
        return {f"{self.asset}/{self.partition}": excerpt(self.manifest, self.open, columns, facts)}

    def expect_made_from(self, raw: Mapping[str, str]) -> None:
        """An index of other bytes than a raw file has now says nothing about it.

        Raises:
            StoreError: these names and checksums are not among what this was made from.
        """
        if not raw.items() <= self.manifest.recipe.inputs.items():
            raise StoreError(
                f"{next(iter(raw))} is not the file that {self.asset}/{self.partition} was made from: materialize "
                f"{self.asset} again first."
            )

    def open(self) -> Any:
        """The format's reader of this artifact."""
        self.manifest  # noqa: B018  (an artifact that is not there, or not whole, is never opened)
        return self.opener(self.location)


class Artifacts(Mapping[str, Artifact]):
    """Partitions of one asset in the partitions definition's order, each looked at only when it is asked for."""

    def __init__(self, keys: Sequence[str], get: Callable[[str], Artifact]) -> None:
        self._keys = tuple(keys)
        self._get = get

    def __getitem__(self, key: str) -> Artifact:
        if key not in self._keys:
            raise KeyError(key)
        return self._get(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def as_inputs(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Names and checksums of several artifacts, for the recipe of what is made from them.

    Raises:
        MissingUpstream, StoreError: the first that is missing or damaged.
    """
    return {name: checksum for artifact in artifacts for name, checksum in artifact.as_input.items()}

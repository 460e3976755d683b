"""A sample's passport: where one row of an artifact comes from, and its twins in every other artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from imgassets.errors import ImgassetsError, Misunderstood
from imgassets.io.artifacts import Artifact
from imgassets.io.samples import Rows, Sample
from imgassets.operations.trace import named
from imgassets.places import Place
from imgassets.planning.graph import Graph


@dataclass(frozen=True)
class Row:
    """One row of an artifact."""

    artifact: Artifact
    row: int
    place: Place
    about: Mapping[str, Any]

    @property
    def name(self) -> str:
        """E.g. `imagenet64/arrays/val_data`."""
        return f"{self.artifact.asset}/{self.artifact.partition}"

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        manifest = self.artifact.manifest
        made: dict[str, Any] = {"format": manifest.recipe.format, "code_version": manifest.recipe.code_version}
        made["config"] = dict(manifest.settings)
        return {"artifact": self.name, "row": self.row, **_place(self.place), "about": dict(self.about), **made}


@dataclass(frozen=True)
class Passport:
    """What is known of one sample."""

    sample: Sample
    source: Place | None
    """Where it lies in the raw inputs; None for one that was generated."""
    row: Row
    twins: tuple[Row, ...]
    unreadable: Mapping[str, str]
    """Artifacts that may hold it but cannot be looked into, with the reason."""

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "series": self.sample.series,
            "number": self.sample.number,
            "source": _place(self.source) if self.source else None,
            **self.row.document(),
            "twins": [twin.document() for twin in self.twins],
            "unreadable": dict(self.unreadable),
        }


def passport(graph: Graph, instance: dg.DagsterInstance, name: str, row: int) -> Passport:
    """The passport of row `row` of the partition `name` (`imagenet64/arrays/val_data`).

    Raises:
        Misunderstood: there is no such partition or row, or its rows are no samples.
        MissingUpstream, StoreError: the partition is missing or damaged.
    """
    asset, partition = named(graph, name)
    builds = graph.builds(asset, instance)
    if builds.rows is None:
        raise Misunderstood(f"The rows of {asset.name} are no samples: name an index, a store or shards.")
    artifact = asset.artifact(partition)
    assert artifact.manifest
    rows = builds.rows(artifact)
    if not 0 <= row < len(rows):
        raise Misunderstood(f"{name} has the rows 0..{len(rows) - 1}, not {row}.")
    sample = rows.sample(row)
    if sample.number < 0:
        raise Misunderstood(f"Row {row} of {name} is no sample of {sample.series}.")
    own = Row(artifact, row, rows.place(row), rows.about(row))
    source = rows.source(row) if rows.source else None
    twins: list[Row] = []
    unreadable: dict[str, str] = {}
    for other, held in _others(graph, instance, sample, unreadable):
        place = held.find(sample)
        if place is None or (other.asset, other.partition) == (artifact.asset, artifact.partition):
            continue
        source = source or (held.source(place) if held.source else None)
        twins.append(Row(other, place, held.place(place), held.about(place)))
    return Passport(sample, source, own, tuple(twins), unreadable)


def _others(
    graph: Graph, instance: dg.DagsterInstance, sample: Sample, unreadable: dict[str, str]
) -> Iterator[tuple[Artifact, Rows]]:
    """The finished artifacts that hold samples of the same series."""
    for asset in graph.assets.values():
        try:
            builds = graph.builds(asset, instance)
        except ImgassetsError as error:
            unreadable[asset.name] = str(error)
            continue
        if builds.rows is None:
            continue
        for key in asset.keys(instance):
            artifact = asset.artifact(key)
            try:
                if not artifact.location.manifest.exists():
                    continue
                rows = builds.rows(artifact)
                if rows.series == sample.series:
                    yield artifact, rows
            except ImgassetsError as error:
                unreadable[f"{asset.name}/{key}"] = str(error)


def _place(place: Place) -> dict[str, Any]:
    found = {"file": place.file, "member": place.member, "offset": place.offset, "bytes": place.size}
    return found | {"sha256": place.sha256}

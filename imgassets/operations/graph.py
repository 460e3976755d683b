"""The asset graph as the commands see it: the assets of a selection and their partitions, in the order to make them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import dagster as dg

from imgassets.errors import BadInput
from imgassets.io.artifacts import Artifact
from imgassets.io.base import ArtifactIOManager


@cache
def definitions() -> dg.Definitions:
    """Everything under `defs/`, loaded once."""
    from imgassets.definitions import defs

    return defs()


@dataclass(frozen=True)
class Asset:
    """One asset of the graph."""

    key: dg.AssetKey
    partitions: dg.PartitionsDefinition[Any]
    run_size: int
    """Most partitions in one run."""
    io_manager: ArtifactIOManager

    @property
    def name(self) -> str:
        """The key as people write it, e.g. `imagenet64/arrays`."""
        return self.key.to_user_string()

    def keys(self, instance: dg.DagsterInstance) -> list[str]:
        """All partitions, in order."""
        return list(self.partitions.get_partition_keys(dynamic_partitions_store=instance))

    def artifact(self, partition: str) -> Artifact:
        """One partition, whether it exists or not."""
        return self.io_manager.artifact(self.key, partition)


def select(selection: str) -> list[Asset]:
    """The assets of a Dagster selection: `imagenet64/csv_sample`, `+imagenet64/csv_sample`, `group:imagenet64`, `*`.

    Upstream assets come first.

    Raises:
        BadInput: the selection is malformed, or selects nothing.
    """
    loaded = definitions()
    graph = loaded.resolve_asset_graph()
    try:
        keys = dg.AssetSelection.from_string(_quoted(selection)).resolve(graph)
    except Exception as error:
        raise BadInput(f"{selection!r} selects nothing ({error}): name an asset, e.g. {_names(loaded)}.") from error
    if not keys:
        raise BadInput(f"{selection!r} selects nothing: there are {_names(loaded)}.")
    ordered = [key for level in graph.toposorted_asset_keys_by_level for key in sorted(level) if key in keys]
    return [_asset(loaded, key) for key in ordered]


def select_one(selection: str) -> Asset:
    """The asset of a selection that has only one.

    Raises:
        BadInput: as `select`; also where there are several.
    """
    asset, *others = select(selection)
    if others:
        raise BadInput(f"{selection!r} selects {1 + len(others)} assets, expected one: name it, e.g. {asset.name}.")
    return asset


def parse_range(text: str, keys: Sequence[str]) -> list[str]:
    """Partitions `A..B`, in order, both ends included; `A` alone is one partition.

    Raises:
        BadInput: an end is no partition, or B comes before A.
    """
    first, dots, last = text.partition("..")
    ends = [first, last if dots else first]
    if not all(ends):
        raise BadInput(f"{text!r} is no range A..B of partitions: they run from {keys[0]} to {keys[-1]}.")
    for end in ends:
        if end not in keys:
            raise BadInput(f"There is no partition {end!r}: they run from {keys[0]} to {keys[-1]}.")
    start, stop = (list(keys).index(end) for end in ends)
    if stop < start:
        raise BadInput(f"{last} comes before {first}: write {last}..{first}.")
    return list(keys[start : stop + 1])


def _asset(loaded: dg.Definitions, key: dg.AssetKey) -> Asset:
    definition = loaded.resolve_assets_def(key)
    assert definition.partitions_def is not None, f"{key} has no partitions"
    policy = definition.backfill_policy
    run_size = (policy.max_partitions_per_run if policy else 1) or 1_000_000
    manager = (loaded.resources or {})[definition.get_io_manager_key_for_asset_key(key)]
    return Asset(key, definition.partitions_def, run_size, manager)


def _quoted(selection: str) -> str:
    """Dagster's selection syntax wants keys that hold a slash in quotes; people do not."""
    parts = re.fullmatch(r"""(\d*\+)?([^\s:"()+]+/[^\s:"()+]+)(\+\d*)?""", selection)
    return f'{parts[1] or ""}key:"{parts[2]}"{parts[3] or ""}' if parts else selection


def _names(loaded: dg.Definitions) -> str:
    return ", ".join(sorted(key.to_user_string() for key in loaded.resolve_asset_graph().materializable_asset_keys))

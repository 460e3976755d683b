"""The asset graph as operations see it: partitioned artifacts, the managers that open them, what they are made from."""

import inspect
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import dagster as dg
from pydantic import ValidationError

from imgassets.errors import Misunderstood
from imgassets.io import dagster_private
from imgassets.io.artifacts import Artifact, Artifacts, Builds
from imgassets.io.base import ArtifactIOManager, code_version

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """One asset of the graph."""

    key: dg.AssetKey
    partitions: dg.PartitionsDefinition[Any]
    run_size: int
    """Most partitions in one run."""
    io_manager: ArtifactIOManager
    definition: dg.AssetsDefinition

    @property
    def name(self) -> str:
        """The key as people write it, e.g. `imagenet64/arrays`."""
        return self.key.to_user_string()

    @property
    def code_version(self) -> str:
        """Of the code that decides the bytes, as recipes have it."""
        return code_version(self.definition.get_asset_spec(self.key))

    @property
    def upstream(self) -> dict[str, dg.AssetKey]:
        """Asset by name of the input."""
        return dagster_private.inputs(self.definition)

    def keys(self, instance: dg.DagsterInstance) -> list[str]:
        """All partitions, in order."""
        return list(self.partitions.get_partition_keys(dynamic_partitions_store=instance))

    def runs(self, partitions: Collection[str], instance: dg.DagsterInstance) -> Iterator[list[str]]:
        """`partitions` as runs of neighbours, as Dagster's ranges are, of at most `run_size`.

        Runs end where they would if all partitions were wanted: an asset whose `run_size` divides its splits never gets
        a run of two splits.
        """
        wanted, run = set(partitions), list[str]()
        for place, key in enumerate(self.keys(instance)):
            if run and (key not in wanted or place % self.run_size == 0):
                yield run
                run = []
            if key in wanted:
                run.append(key)
        if run:
            yield run

    def artifact(self, partition: str) -> Artifact:
        """One partition, whether it exists or not."""
        return self.io_manager.artifact(self.key, partition)

    def words_after(self, partitions: Iterable[str]) -> list[str]:
        """What a terminal shows of partitions that were made, in the words of a guide."""
        if not self.io_manager.aloud:
            return []
        artifacts = map(self.artifact, partitions)
        return [line for one in artifacts for line in self.io_manager.words_after(one.location, one.manifest)]

    def settings(self, config: Mapping[str, Any]) -> Any:
        """Its run configuration.

        Raises:
            Misunderstood: a value is of another type, or out of range; names it.
        """
        kind = inspect.signature(dagster_private.body(self.definition)).parameters["config"].annotation
        try:
            return kind(**config)
        except ValidationError as error:
            wrong = error.errors()[0]
            name = ".".join(map(str, wrong["loc"]))
            raise Misunderstood(f"{self.name}: {name} is {wrong['input']!r}: {wrong['msg']}.") from error

    def builds(
        self,
        resources: Mapping[str, Any],
        inputs: Mapping[str, Artifacts],
        config: Mapping[str, Any],
        say: Callable[[str], object] = log.info,
    ) -> Builds:
        """What the asset returns, asked outside of any run: bodies only describe, all work waits in `content`.

        `say` takes the lines that a run would have in its log.
        """
        function = dagster_private.body(self.definition)
        arguments: dict[str, Any] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            if name == "context":
                arguments[name] = SimpleNamespace(log=SimpleNamespace(info=say))
            elif name == "config":
                arguments[name] = self.settings(config)
            elif name in inputs:
                arguments[name] = inputs[name]
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                arguments |= {other: inputs[other] for other in inputs if other not in arguments}
            else:
                arguments[name] = resources[name]
        builds: Builds = function(**arguments)
        return builds


def run_tags(run: Sequence[str]) -> dict[str, str]:
    """Tags of a run over neighbours."""
    if len(run) == 1:
        return {"dagster/partition": run[0]}
    return {"dagster/asset_partition_range_start": run[0], "dagster/asset_partition_range_end": run[-1]}


@dataclass(frozen=True)
class Graph:
    """All partitioned artifacts of a code location, upstream first."""

    assets: Mapping[dg.AssetKey, Asset]
    resources: Mapping[str, Any]

    @classmethod
    def of(cls, repository: dg.RepositoryDefinition, resources: Mapping[str, Any]) -> "Graph":
        """The graph of a code location with its resources, by name and ready to use."""
        assets = {}
        for key, definition in dagster_private.executable(repository):
            manager = resources.get(dagster_private.io_manager_key(definition, key))
            if definition.partitions_def is not None and isinstance(manager, ArtifactIOManager):
                run_size = dagster_private.largest_run(definition) or 1_000_000
                assets[key] = Asset(key, definition.partitions_def, run_size, manager, definition)
        return cls(assets, resources)

    def builds(self, asset: Asset, instance: dg.DagsterInstance) -> Builds:
        """What an asset returns, given its upstream as it is, and no run configuration."""
        inputs = {}
        for name, key in asset.upstream.items():
            upstream = self.assets[key]
            inputs[name] = Artifacts(upstream.keys(instance), upstream.artifact)
        return asset.builds(self.resources, inputs, {})

    def roots(self) -> list[Asset]:
        """Assets that are made from raw inputs alone."""
        return [asset for asset in self.assets.values() if not asset.upstream]

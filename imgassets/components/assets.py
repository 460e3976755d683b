"""What the assets of all datasets have in common."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, wraps
from pathlib import Path
from typing import Any

import dagster as dg
import xxhash

from imgassets.commit import check_count, check_part
from imgassets.components.automation import Automation, automated
from imgassets.environment import Storage
from imgassets.errors import BadInput
from imgassets.io.artifacts import Artifacts, Builds, Said
from imgassets.io.asked import Asked, BuildConfig, declared_by
from imgassets.io.resources import resources
from imgassets.projects import Project

OWNERS = ["team:imgassets"]
RUN_SIZE = 128
"""Most partitions in one run of a backfill: bookkeeping falls with it, and 128 divides the 1152 TFRecord shards."""


def dataset_asset(
    dataset: str, name: str, *, code_version: str, declared: object = None, **arguments: Any
) -> Callable[[Callable[..., Builds]], dg.AssetsDefinition]:
    """`dagster.asset` for `dataset/name`, in the group `dataset`; `arguments` add to the defaults or replace them.

    `code_version` is raised when the same inputs and settings are to give other bytes in an unchanged format: what was
    made before is then made again. `declared` has, as attributes, the values by YAML of all settings in the asset's run
    configuration: what a run is asked for instead is then remembered with what it made.

    Raises:
        BadInput: a partition has a name that cannot be a file's, or there are too many.
    """
    if isinstance(partitions := arguments.get("partitions_def"), dg.StaticPartitionsDefinition):
        check_count(f"{dataset}/{name}", len(keys := partitions.get_partition_keys()))
        for key in keys:
            check_part(key)
    defaults = {
        "key_prefix": dataset,
        "group_name": dataset,
        "owners": OWNERS,
        "code_version": code_version,
        "backfill_policy": dg.BackfillPolicy.multi_run(RUN_SIZE),
    }
    decorator: Callable[[Callable[..., Builds]], dg.AssetsDefinition] = dg.asset(name=name, **(defaults | arguments))

    def asset(function: Callable[..., Builds]) -> dg.AssetsDefinition:
        body = function if declared is None else _remembering(function, declared)
        return decorator(body if "pool" in arguments else _derivable(body))  # what a pool guards is not made in two

    return asset


def _derivable(function: Callable[..., Builds]) -> Callable[..., Builds]:
    """The body of an asset, which also says what it was called with."""

    @wraps(function)
    def body(*context: Any, config: BuildConfig, **arguments: Any) -> Builds:
        inputs = {name: list(given) for name, given in arguments.items() if isinstance(given, Artifacts)}
        said = Said(inputs, config.model_dump(mode="json"))
        return replace(function(*context, config=config, **arguments), said=said)

    return body


def _remembering(function: Callable[..., Builds], declared: object) -> Callable[..., Builds]:
    """The body of an asset, which can also be asked what earlier runs were asked."""

    @wraps(function)
    def body(*context: Any, config: BuildConfig, **arguments: Any) -> Builds:
        @cache
        def under(settings: str) -> Builds:
            return function(*context, config=config.model_copy(update=json.loads(settings)), **arguments)

        asked = Asked(config, declared_by(declared, config), under)
        return replace(function(*context, config=config, **arguments), asked=asked)

    return body


def dataset_definitions(
    context: dg.ComponentLoadContext, name: str, definitions: dg.Definitions, automation: Automation
) -> dg.Definitions:
    """All of a dataset: its assets with their checks and jobs, its sensors, and the resources that they need."""
    needed = dg.Definitions(resources=resources(Project.of(context.path)))
    return dg.Definitions.merge(automated(name, definitions, automation), needed)


def fan_in(groups: Mapping[str, Sequence[str]]) -> dg.StaticPartitionMapping:
    """Each downstream partition is made from all upstream partitions of its group."""
    return dg.StaticPartitionMapping({part: group for group, parts in groups.items() for part in parts})


def listed_checksum(files: Iterable[tuple[str, Path]], storage: Storage) -> str:
    """XXH3-128 over names and checksums of files, in order."""
    digest = xxhash.xxh3_128()
    checksums = storage.vault.checksums
    for name, path in files:
        try:
            checksum = checksums.of(path) if path.is_file() else "not a file"
        except BadInput:  # what cannot be read is told when it is needed, with the rest of what is wrong
            checksum = "unreadable"
        digest.update(f"{name}\0{checksum}\n".encode())
    return digest.hexdigest()

"""Datasets as a YAML file would declare them, whose files lie somewhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dagster as dg

from imgassets.environment import Storage
from imgassets.io.resources import resources_over
from imgassets.projects import PACKAGE


def built(component: dg.Component, storage: Storage) -> dg.Definitions:
    """The definitions of a dataset, over `storage` instead of what it brings along."""
    context: Any = SimpleNamespace(path=PACKAGE)  # what is built does not depend on where the YAML lies
    return over(component.build_defs(context), storage)


def over(definitions: dg.Definitions, storage: Storage, **others: Any) -> dg.Definitions:
    """The same definitions, whose resources are those of `storage`, and `others`."""
    return dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        jobs=definitions.jobs,
        sensors=definitions.sensors,
        resources={**resources_over(storage), **others},
        executor=dg.in_process_executor,
    )

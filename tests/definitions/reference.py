"""What commands know of our components without loading Dagster: `python -m tests.definitions.reference` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imgassets.components
from imgassets.declared import datasets
from imgassets.definitions import defs
from imgassets.operations.reference import about, attributes, component, run_settings
from imgassets.projects import BUNDLED
from imgassets.settings import REFERENCE


def made() -> dict[str, Any]:
    """By component: `about`, `attributes`, and what its assets' runs can be asked for."""
    loaded, found = defs(), dict[str, Any]()
    for name in imgassets.components.__all__:
        kind = component(name)
        runs = {}
        for dataset in datasets(BUNDLED):
            if dataset.kind == f"imgassets.components.{name}":
                runs |= run_settings(loaded, dataset.name)
        found[name] = {"about": about(kind), "attributes": list(attributes(kind)), "run": dict(sorted(runs.items()))}
    return found


def text() -> str:
    """As it stands in the package."""
    return json.dumps(made(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(REFERENCE).write_text(text(), encoding="utf-8")

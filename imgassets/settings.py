"""Every setting there is: its meaning, its default, the value in force and who gave it. Told without Dagster."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from imgassets.declared import Declared, datasets
from imgassets.errors import Misunderstood
from imgassets.projects import PACKAGE, Project
from imgassets.spelling import did_you_mean

REFERENCE = PACKAGE / "reference.json"
"""What our components' fields say of themselves, for commands that have no time to import them."""
OURS = "imgassets.components."

VARIABLES = {
    "DAGSTER_HOME": ("folder", "dagster_home/ of the project", "Dagster's home, and remembered checksums."),
    "IMGASSETS_PROJECT": ("folder", "that of the working directory, else the demo", "The project commands work on."),
    "IMGASSETS_RAW": ("folder", "$DAGSTER_HOME/raw", "Raw inputs, only ever read."),
    "IMGASSETS_STORE": ("folder", "$DAGSTER_HOME/store", "The vault: artifacts, locks, and whose each dataset is."),
    "IMGASSETS_ENGINE": ("text", "local", "Who makes a run's partitions: local, processes or processes:N."),
    "IMGASSETS_TFRECORD_SHARDS": ("text", "1024,128", "Shards of train,validation of ilsvrc2012/tfrecords."),
    "IMGASSETS_CT_REPO": (
        "text",
        "ibrahimhamamci/CT-RATE",
        "CT-RATE: a repository on the hub, or a folder shaped like it.",
    ),
    "IMGASSETS_CT_SAMPLES_PER_SHARD": ("whole number", "128", "Volumes in a CT shard."),
    "IMGASSETS_CT_SHOW_REPORTS": ("0 or 1", "0", "Whether previews show patients' reports."),
    "HF_TOKEN": ("text", "what `hf auth login` has stored", "Token for the hub; never shown."),
    "HF_ENDPOINT": ("URL", "https://huggingface.co", "The hub."),
    "HF_HOME": ("folder", "~/.cache/huggingface", "Cache and token of huggingface_hub."),
}
"""Kind, default and meaning of environment variables."""
SECRET = {"HF_TOKEN"}


@dataclass(frozen=True)
class InForce:
    """A value that holds, and where it comes from."""

    dataset: str
    """Empty for an environment variable."""
    value: Any
    source: str


@dataclass(frozen=True)
class Setting:
    """One setting of a component, of runs, or of the environment."""

    name: str
    owner: str
    """The component; `environment`; `run` for what only runs have."""
    kind: str
    default: Any
    """None also where there is none."""
    about: str
    run: bool
    """Whether `--set` takes it."""
    in_force: tuple[InForce, ...]


@cache
def reference() -> dict[str, Any]:
    """By name of our components: `about`, `attributes` and `run`, as `operations.reference` tells them."""
    found: dict[str, Any] = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return found


def settings(project: Project) -> Iterator[Setting]:
    """All there are, with the values that hold in a project."""
    for name, (kind, default, about) in VARIABLES.items():
        yield Setting(name, "environment", kind, default, about, False, (_variable(name, default),))
    declared = list(datasets(project))
    for component, known in reference().items():
        own = [dataset for dataset in declared if dataset.kind == OURS + component]
        names = {one["name"] for one in known["attributes"]}
        for one in known["attributes"]:
            held = tuple(_held(dataset, one) for dataset in own)
            run = one["name"] in known["run"]
            yield Setting(one["name"], component, one["kind"], one.get("default"), one["about"], run, held)
        for name, about in known["run"].items():
            if name not in names:
                yield Setting(name, component, "run configuration", None, about, True, ())


def find(key: str, project: Project) -> list[Setting]:
    """Those of a name: `csv_size_gb`, `imagenet64.csv_size_gb` of one dataset, `NpzImages.csv_size_gb`, a variable.

    Raises:
        Misunderstood: there is none.
    """
    everything = list(settings(project))
    found = [one for one in everything if key in (one.name, f"{one.owner}.{one.name}")]
    dataset, _, name = key.partition(".")
    for one in () if found else everything:
        if one.name == name and (held := tuple(value for value in one.in_force if value.dataset == dataset)):
            found.append(Setting(**{**one.__dict__, "in_force": held}))
    if not found:
        hint = did_you_mean(key, dict.fromkeys(one.name for one in everything))
        raise Misunderstood(f"There is no setting {key!r}.{hint or ' `imgassets settings` lists them.'}")
    return found


def _variable(name: str, default: str) -> InForce:
    value = os.environ.get(name)
    if not value:
        return InForce("", default, "default")
    return InForce("", "(set)" if name in SECRET else value, "environment")


def _held(dataset: Declared, attribute: dict[str, Any]) -> InForce:
    if attribute["name"] in dataset.attributes:
        value, line = dataset.attributes[attribute["name"]]
        return InForce(dataset.name, value, f"{dataset.file}:{line}")
    return InForce(dataset.name, attribute.get("default"), "default")

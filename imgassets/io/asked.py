"""What runs are asked for beside what a dataset declares, and how that is remembered with what they made."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg
from pydantic import Field

from imgassets.commit import Location, load
from imgassets.errors import StoreError

if TYPE_CHECKING:
    from imgassets.io.artifacts import Builds

NOTES = "asked"
"""The manifest's fact: by setting the value asked for, and the one that the dataset declared then."""


class BuildConfig(dg.Config):
    """Run configuration every asset has."""

    force: bool = Field(default=False, description="Build again, also what is proven to be there and unchanged.")
    reset: list[str] = Field(
        default=[], description="Settings that are not to be remembered: what earlier runs were asked for is forgotten."
    )

    changing_no_bytes: ClassVar[frozenset[str]] = frozenset({"force", "reset", "threads", "workers"})

    @property
    def asked(self) -> dict[str, Any]:
        """The settings that decide bytes and that were given, by name."""
        fields = type(self).model_fields
        given = {name: getattr(self, name) for name in fields.keys() - self.changing_no_bytes}
        return {name: given[name] for name in fields if given.get(name) is not None}


@dataclass(frozen=True)
class Asked:
    """What a run is asked for."""

    config: BuildConfig
    declared: Mapping[str, Any]
    """Value of each setting by the dataset's YAML, as JSON values."""
    under: Callable[[str], "Builds"]
    """What the asset returns with these settings (JSON, value by name) in addition."""

    def remembered(self, location: Location) -> dict[str, Any]:
        """What the partition was made with, which holds as long as nobody says otherwise.

        That is: it was asked for then, this run is asked for nothing else, and the YAML says what it said then.
        """
        said = self.config.asked.keys() | set(self.config.reset)
        return {
            name: note["value"]
            for name, note in _notes(location).items()
            if name not in said and name in self.declared and note["declared"] == self.declared[name]
        }

    def notes(self, remembered: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What there is to remember of a partition that is made now."""
        asked = {name: value for name, value in self.config.asked.items() if name not in self.config.reset}
        return {
            name: {"value": value, "declared": self.declared[name]}
            for name, value in {**remembered, **asked}.items()
            if name in self.declared and value != self.declared[name]
        }


def declared_by(dataset: object, config: BuildConfig) -> dict[str, Any]:
    """Value of each setting that decides bytes, as a dataset declares it."""
    names = type(config).model_fields.keys() - BuildConfig.changing_no_bytes
    found: dict[str, Any] = json.loads(json.dumps({name: getattr(dataset, name) for name in sorted(names)}))
    return found


def _notes(location: Location) -> Mapping[str, Mapping[str, Any]]:
    try:
        notes: Mapping[str, Mapping[str, Any]] = load(location.manifest).facts.get(NOTES, {})
    except (OSError, StoreError):
        return {}
    return notes

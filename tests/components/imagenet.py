"""A small NPZ dataset on folders of its own, its graph, and runs of it: what the tests of the dataset share."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from imgassets.components import NpzImages
from imgassets.environment import Storage
from imgassets.io.artifacts import Artifact
from tests.components.building import built

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def save_npz(path: Path, compression: int = zipfile.ZIP_STORED, **members: np.ndarray) -> None:
    """An NPZ file, objects pickled into it if that is what is asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=array.dtype == object)


def rows(number: int, count: int, resolution: int = 16) -> dict[str, np.ndarray]:
    """Images and labels of batch `number`, other ones for every number; every label differs from its class_id."""
    rng = np.random.default_rng(number)
    return {
        "data": rng.integers(0, 256, (count, 3 * resolution**2), np.uint8),
        "labels": rng.integers(1, 1001, count),
    }


@dataclass(frozen=True)
class Result:
    """What one run did."""

    run: dg.ExecuteInProcessResult

    @property
    def success(self) -> bool:
        return self.run.success

    @property
    def metadata(self) -> dict[str, Mapping[str, Any]]:
        """Of the materializations, by partition."""
        return {
            str(event.partition): {name: item.value for name, item in event.materialization.metadata.items()}
            for event in self.run.all_events
            if event.is_step_materialization
        }

    @property
    def failure(self) -> str:
        """The one line that says why the run failed."""
        (event,) = [event for event in self.run.all_events if event.is_step_failure]
        data = event.step_failure_data.user_failure_data
        assert data is not None, event.step_failure_data.error_display_string
        return str(data.description)

    @property
    def reasons(self) -> dict[str, str]:
        """Why, by partition."""
        (event,) = [event for event in self.run.all_events if event.is_step_failure]
        data = event.step_failure_data.user_failure_data
        assert data is not None, event.step_failure_data.error_display_string
        return {key: str(item.value) for key, item in data.metadata.items()}

    @property
    def checks(self) -> dict[tuple[str, str | None], dg.AssetCheckEvaluation]:
        """By name and partition."""
        return {(found.check_name, found.partition): found for found in self.run.get_asset_check_evaluations()}


@dataclass
class Graph:
    """The graph of one dataset."""

    folder: Path
    instance: dg.DagsterInstance
    dataset: NpzImages
    storage: Storage = field(init=False)
    defs: dg.Definitions = field(init=False)

    def __post_init__(self) -> None:
        self.storage = Storage(
            raw=str(self.folder / "raw"), store=str(self.folder / "store"), state=str(self.folder / "state")
        )
        self.defs = built(self.dataset, self.storage)

    @property
    def raw(self) -> Path:
        return Path(self.storage.raw) / self.dataset.name

    @property
    def store(self) -> Path:
        return Path(self.storage.store) / self.dataset.name

    def keys(self, asset: str) -> list[str]:
        definition = self.defs.get_assets_def([self.dataset.name, asset]).partitions_def
        assert definition is not None
        return list(definition.get_partition_keys())

    def run(self, asset: str, first: str | None = None, last: str | None = None, **config: Any) -> Result:
        """Materialize partitions `first`..`last` in one run; default: all, or `first` alone."""
        keys = self.keys(asset)
        last = last or first or keys[-1]
        first = first or keys[0]
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        return Result(
            self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=self.instance,
                asset_selection=[dg.AssetKey([self.dataset.name, asset])],
                partition_key=first if first == last else None,
                tags=None if first == last else tags,
                run_config=QUIET | {"ops": {f"{self.dataset.name}__{asset}": {"config": config}}},
                raise_on_error=False,
            )
        )

    def check(self, asset: str, partition: str) -> dict[str, dg.AssetCheckEvaluation]:
        """Evaluate the checks of one partition, by name."""
        return self._checks(asset, {"dagster/partition": partition})[partition]

    def check_range(self, asset: str) -> dict[str | None, dict[str, dg.AssetCheckEvaluation]]:
        """Evaluate the checks of all partitions in one run, by partition (None: the run's own finding) and name."""
        first, *_, last = self.keys(asset)
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        return self._checks(asset, tags)

    def _checks(self, asset: str, tags: dict[str, str]) -> dict[str | None, dict[str, dg.AssetCheckEvaluation]]:
        key = dg.AssetKey([self.dataset.name, asset])
        job = dg.define_asset_job("checks", dg.AssetSelection.checks_for_assets(key))
        defs = dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
        run = defs.resolve_job_def("checks").execute_in_process(
            instance=self.instance, tags=tags, run_config=QUIET, raise_on_error=False
        )
        found: dict[str | None, dict[str, dg.AssetCheckEvaluation]] = {}
        for evaluation in run.get_asset_check_evaluations():
            found.setdefault(evaluation.partition, {})[evaluation.check_name] = evaluation
        return found

    def artifact(self, asset: str, partition: str) -> Artifact:
        name = self.defs.get_assets_def([self.dataset.name, asset]).get_io_manager_key_for_asset_key(
            dg.AssetKey([self.dataset.name, asset])
        )
        manager: Any = (self.defs.resources or {})[name]
        artifact: Artifact = manager.artifact(dg.AssetKey([self.dataset.name, asset]), partition)
        return artifact

    def files(self) -> dict[str, bytes]:
        """Everything in the vault, hidden files too."""
        root = Path(self.storage.store)
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@contextmanager
def graph(folder: Path, write: Callable[[Path], None] | None = None, **attributes: Any) -> Iterator[Graph]:
    """A dataset with an instance of its own; `write` fills `<folder>/raw`."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Graph(folder, instance, NpzImages(**attributes))
        if write:
            write(Path(made.storage.raw))
        yield made

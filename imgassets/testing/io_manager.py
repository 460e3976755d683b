"""What every IO manager must do. A format's test subclasses `IOManagerContract` and gives it content to write."""

import multiprocessing
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imgassets.environment import Storage
from imgassets.errors import BadInput
from imgassets.io import dagster_private
from imgassets.io.artifacts import Artifacts, Build, Builds
from imgassets.io.base import ArtifactIOManager, BuildConfig

KEYS = ["part_1", "part_2", "part_10", "part_3"]
"""In an order that is neither that of text nor of numbers."""
ALL = "all"


class IOManagerContract:
    """Single, range, fan-in of one and of many, failure and kill in the middle, unchanged rerun."""

    keys: list[str] = KEYS

    @abstractmethod
    def manager(self, storage: Storage) -> ArtifactIOManager:
        """The IO manager under test."""

    @abstractmethod
    def content(self, key: str) -> Any:
        """Content for one partition, another one for every key."""

    @abstractmethod
    def check(self, handle: Any, key: str) -> None:
        """Assert that what was opened is what `content(key)` wrote."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return Storage(raw=str(tmp_path / "raw"), store=str(tmp_path / "store"), state=str(tmp_path / "state"))

    @pytest.fixture
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance

    def run(
        self,
        storage: Storage,
        instance: dg.DagsterInstance,
        first: str,
        last: str,
        *,
        content: Callable[[str], Any] | None = None,
        force: bool = False,
        downstream: Callable[[Artifacts], None] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialize partitions `first`..`last` of an asset through the manager; with `downstream`, its fan-in too."""
        parts = dg.StaticPartitionsDefinition(self.keys)
        make = content or self.content

        @dg.asset(
            name="made", partitions_def=parts, io_manager_key="io", backfill_policy=dg.BackfillPolicy.multi_run(9)
        )
        def made(config: BuildConfig) -> Builds:
            return Builds(lambda key: Build(lambda: make(key), config={"key": key}), force=config.force)

        @dg.asset(partitions_def=parts)
        def same(made: Artifacts) -> None:
            assert downstream is not None
            downstream(made)

        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        return dg.materialize(
            [made, same],
            selection=["made"] if downstream is None else ["same"],
            resources={"io": self.manager(storage)},
            instance=instance,
            tags=None if first == last else tags,
            partition_key=first if first == last else None,
            run_config={"ops": {"made": {"config": {"force": force}}}} if downstream is None else None,
            raise_on_error=False,
        )

    def _described(self, storage: Storage, key: str) -> Mapping[str, dg.MetadataValue[Any]]:
        manager = self.manager(storage)
        artifact = manager.artifact(dg.AssetKey("made"), key)
        shown = manager.describe(artifact.location, artifact.manifest)
        return dg.AssetMaterialization("made", metadata=shown).metadata

    def opened(self, storage: Storage, key: str) -> Any:
        return self.manager(storage).artifact(dg.AssetKey("made"), key).open()

    def test_single(self, storage: Storage, instance: dg.DagsterInstance) -> None:
        assert self.run(storage, instance, self.keys[1], self.keys[1]).success
        self.check(self.opened(storage, self.keys[1]), self.keys[1])

    def test_range_pairs_by_key_and_records_each_partition(
        self, storage: Storage, instance: dg.DagsterInstance
    ) -> None:
        result = self.run(storage, instance, self.keys[0], self.keys[-1])
        assert result.success
        events = result.asset_materializations_for_node("made")
        assert sorted(str(event.partition) for event in events) == sorted(self.keys)  # one each, in a set's order
        for event in events:
            assert event.metadata["path"].value == str(self._location(storage, str(event.partition)))
            assert {"bytes", "checksum", "seconds"} <= set(event.metadata)
            shown = self._described(storage, str(event.partition))
            assert {name: event.metadata[name] for name in shown} == shown
        for key in self.keys:
            self.check(self.opened(storage, key), key)

    def test_fan_in_of_one_and_of_many_is_an_ordered_mapping(
        self, storage: Storage, instance: dg.DagsterInstance
    ) -> None:
        assert self.run(storage, instance, self.keys[0], self.keys[-1]).success
        for wanted in ([self.keys[2]], self.keys):
            seen: list[str] = []

            def look(made: Artifacts, seen: list[str] = seen) -> None:
                for key, artifact in made.items():
                    self.check(artifact.open(), key)
                    seen.append(key)

            assert self.run(storage, instance, wanted[0], wanted[-1], downstream=look).success
            assert seen == wanted

    def test_failure_in_the_middle_keeps_what_is_finished(self, storage: Storage, instance: dg.DagsterInstance) -> None:
        bad = self.keys[1]

        def content(key: str) -> Any:
            if key == bad:
                raise BadInput(f"{key}.raw is cut short.")
            return self.content(key)

        result = self.run(storage, instance, self.keys[0], self.keys[-1], content=content)
        assert not result.success
        (failure,) = dagster_private.step_failures(result)
        assert f"made/{bad}: {bad}.raw is cut short." in failure.error
        good = [key for key in self.keys if key != bad]
        recorded = dagster_private.recorded(instance, dg.AssetKey("made"))
        assert recorded == set(good)
        for key in good:
            self.check(self.opened(storage, key), key)
        assert not list(Path(storage.store).rglob(f"*{bad}*"))
        assert self.run(storage, instance, bad, bad).success
        self.check(self.opened(storage, bad), bad)

    def test_kill_in_the_middle_then_rerun_gives_the_same_bytes(
        self, storage: Storage, instance: dg.DagsterInstance, tmp_path: Path
    ) -> None:
        victim = self.keys[2]

        def killed() -> None:
            os.close(2)  # the child dies without ceremony; its log is of no interest

            def content(key: str) -> Any:
                if key == victim:
                    os._exit(9)
                return self.content(key)

            with dg.DagsterInstance.ephemeral() as other:
                self.run(storage, other, self.keys[0], self.keys[-1], content=content)

        process = multiprocessing.get_context("fork").Process(target=killed)
        process.start()
        process.join()
        assert process.exitcode == 9
        finished = self.keys[: self.keys.index(victim)]
        times = {key: self._mtime(storage, key) for key in finished}
        assert self.run(storage, instance, self.keys[0], self.keys[-1]).success
        assert {key: self._mtime(storage, key) for key in finished} == times
        undisturbed = Storage(raw="", store=str(tmp_path / "other"), state=str(tmp_path / "other-state"))
        assert self.run(undisturbed, instance, self.keys[0], self.keys[-1]).success
        assert _bytes(Path(storage.store)) == _bytes(Path(undisturbed.store))

    def test_unchanged_rerun_writes_nothing_and_force_does(
        self, storage: Storage, instance: dg.DagsterInstance
    ) -> None:
        self.run(storage, instance, self.keys[0], self.keys[-1])
        root = Path(storage.store)
        before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}

        def never(key: str) -> Any:
            raise AssertionError("content was asked for")

        result = self.run(storage, instance, self.keys[0], self.keys[-1], content=never)
        assert result.success
        assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before
        for event in result.asset_materializations_for_node("made"):
            assert event.metadata["state"].value == "unchanged, skipped"
        assert self.run(storage, instance, self.keys[0], self.keys[0], force=True).success
        assert self._mtime(storage, self.keys[0]) != before[self._location(storage, self.keys[0])]

    def _location(self, storage: Storage, key: str) -> Path:
        return self.manager(storage).artifact(dg.AssetKey("made"), key).location.path

    def _mtime(self, storage: Storage, key: str) -> int:
        return self._location(storage, key).stat().st_mtime_ns


def _bytes(root: Path) -> dict[str, bytes]:
    """Every file of a vault, but for the record of its owner, who is another one in every home."""
    owners = root / ".imgassets" / "owners"
    files = [path for path in root.rglob("*") if path.is_file() and path.parent != owners]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}

"""The IO manager every format shares: one partition or many, in order, each committed as it is finished."""

import resource
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import dagster as dg
import xxhash

from imgassets.commit import Commit, Location, Manifest, Stage, Written
from imgassets.engines import Engine, Order, Work
from imgassets.environment import EngineSetting, Storage
from imgassets.errors import BadInput, ImgassetsError, one_line
from imgassets.io import dagster_private
from imgassets.io.artifacts import Artifact, Artifacts, Build, Builds
from imgassets.io.asked import NOTES, BuildConfig
from imgassets.io.patience import patiently
from imgassets.progress import Progress

__all__ = ["ArtifactIOManager", "BuildConfig", "Metadata", "on_partition"]

Metadata = dict[str, Any]

MAKER = "imgassets.planning.making:maker"
"""What makes partitions in another process, which has to know the whole graph."""
PLAIN = (dg.TextMetadataValue, dg.IntMetadataValue, dg.FloatMetadataValue)

on_partition: ContextVar[Callable[[str], None] | None] = ContextVar("on_partition", default=None)
"""Told of every partition that is done with, made or failed, while a run goes on in this process: a progress bar."""


class ArtifactIOManager(dg.ConfigurableIOManager):
    """Commits what assets build and opens it for others; a format adds `write`, `open` and what to show of it.

    Assets return `Builds` and receive `Artifacts`, whether a run covers one partition or many. A partition that
    fails does not keep the others from being made; the run then fails with one line that names each failure, and
    what was finished stays recorded.
    """

    storage: dg.ResourceDependency[Storage]
    engine: dg.ResourceDependency[EngineSetting]

    folder: ClassVar[bool] = True
    """Whether a partition is a folder of files, or one file."""
    aloud: ClassVar[bool] = False
    """Whether a terminal shows its `words_after` as well."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"engine": EngineSetting(), **given})

    @property
    @abstractmethod
    def format(self) -> str:
        """Name and version of the bytes' layout, e.g. `npy/1`: another version rebuilds what is there."""

    @abstractmethod
    def write(self, content: Any, stage: Stage) -> Written:
        """Write one partition's content through `stage`."""

    @abstractmethod
    def open(self, location: Location) -> Any:
        """The reader of one partition."""

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """What the UI shows of a partition beside its size and path: pictures, numbers, column schema.

        It is shown first, and in the place of the manifest's facts of the same names.
        """
        return {}

    def parts(self, asset_key: dg.AssetKey, partition: str) -> tuple[str, ...]:
        """Path of a partition below the vault's root."""
        return (*asset_key.path, partition)

    def words_before(self, asset_key: dg.AssetKey, partitions: Sequence[str]) -> list[str]:
        """What the log and the terminal say of all partitions before a run: how its guide says what is there."""
        return []

    def words_after(self, location: Location, manifest: Manifest) -> list[str]:
        """What the log says of a partition that was made, as its guide does; the terminal, where `aloud`."""
        return []

    def artifact(self, asset_key: dg.AssetKey, partition: str) -> Artifact:
        """One partition, whether it exists or not."""
        return Artifact(
            asset_key.to_user_string(),
            partition,
            self._location(asset_key, partition),
            self.storage.vault,
            self.open,
        )

    def handle_output(self, context: dg.OutputContext, obj: Builds) -> None:
        """Commit every partition of the run; those that somebody else is making are come back to at the end.

        Raises:
            Failure: at least one could not be made; names them and why, in one line.
        """
        finished: dict[str, Metadata] = {}
        failed: dict[str, ImgassetsError] = {}
        keys = _ordered(context)
        at = keys[0]

        def make(key: str, wait: bool) -> Metadata:
            nonlocal at
            at = key
            return self.make(context.asset_key, key, obj, code_version(context.asset_spec), context.log.info, wait=wait)

        work = Work(keys, make, context.log.info, self._order(context, obj), made_elsewhere)
        try:
            with closing(self._engine(context).outcomes(work)) as outcomes:
                for ended in outcomes:
                    if ended.error is None:
                        finished[ended.key] = ended.value or {}
                    else:
                        failed[ended.key] = ended.error
                        context.log.error("%s/%s: %s", context.asset_key.to_user_string(), ended.key, ended.error)
                    if observer := on_partition.get():
                        observer(ended.key)
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
            _record_finished(context, finished)
            text = f"Interrupted at {context.asset_key.to_user_string()}/{at}"
            raise type(error)(f"{text}: {len(finished)} of {len(keys)} partitions are finished, and stay.") from None
        except BaseException:
            _record_finished(context, finished)
            raise
        if failed:
            _record_finished(context, finished)
            _tell_failed(context, failed)
            raise _failure(context.asset_key.to_user_string(), failed, len(keys))
        in_order = {key: finished[key] for key in keys}
        dagster_private.set_data_version(context, _version(in_order))
        for key, metadata in in_order.items():
            dagster_private.add_partition_metadata(context, key, metadata)

    def load_input(self, context: dg.InputContext) -> Artifacts:
        """The upstream partitions this run needs, in order, none opened yet."""
        keys = _ordered(context)
        return Artifacts(keys, lambda key: self.artifact(context.asset_key, key))

    def make(
        self,
        asset_key: dg.AssetKey,
        key: str,
        builds: Builds,
        code_version: str,
        say: Callable[[str], object],
        *,
        wait: bool = False,
    ) -> Metadata:
        """Commit one partition, in a run or outside of any; `say` takes lines of text for its log.

        Returns:
            What a person sees of it.

        Raises:
            ImgassetsError: it cannot be made; Taken, if somebody else is at it and `wait` is not asked for, or in vain.
        """
        started = time.monotonic()
        location = self._location(asset_key, key)
        name = f"{asset_key.to_user_string()}/{key}"
        build: Build = builds.of(key, location)
        recipe = build.recipe(asset_key.to_user_string(), key, self.format, code_version)

        def write(stage: Stage) -> Written:
            stage.progress = Progress(say, name)
            written = self.write(build.content(), stage)
            notes = {NOTES: dict(build.notes)} if build.notes else {}
            return replace(written, facts={**written.facts, "settings": dict(build.config), **notes})

        vault = self.storage.vault
        attempt = partial(vault.commit, location, recipe, write, force=builds.force)
        commit = patiently(attempt, say) if wait else attempt()
        seconds = time.monotonic() - started
        if commit.fresh:
            say(f"{name}: {commit.manifest.total_bytes / 1e6:.1f} MB in {seconds:.1f} s")
            for line in self.words_after(location, commit.manifest):
                say(line)
        else:
            say(f"{name}: unchanged, skipped")
        shown = self.describe(location, commit.manifest)
        return shown | {name: value for name, value in _metadata(commit, seconds).items() if name not in shown}

    def _engine(self, context: dg.OutputContext) -> Engine:
        try:
            return self.engine.of(dagster_private.concurrent_runs(context))
        except BadInput as error:
            raise dg.Failure(str(error), allow_retries=False) from None

    def _order(self, context: dg.OutputContext, builds: Builds) -> Order | None:
        if builds.said is None:
            return None
        document = {
            "asset": context.asset_key.path,
            "inputs": builds.said.inputs,
            "config": builds.said.config,
            "resources": dagster_private.resource_config(context),
            "storage": self.storage.model_dump(mode="json"),
        }
        return Order(MAKER, document)

    def _location(self, asset_key: dg.AssetKey, partition: str) -> Location:
        return self.storage.vault.location(*self.parts(asset_key, partition), folder=self.folder)


def for_elsewhere(metadata: Metadata) -> str:
    """What a person sees of a partition, as JSON."""
    return dg.serialize_value(dg.AssetMaterialization("made", metadata=metadata))


def made_elsewhere(text: str) -> Metadata:
    """The same from JSON."""
    found = dg.deserialize_value(text, dg.AssetMaterialization).metadata
    return {name: value.value if isinstance(value, PLAIN) else value for name, value in found.items()}


def code_version(spec: dg.AssetSpec) -> str:
    """Of the code that decides an asset's bytes, as recipes have it."""
    return spec.code_version or "1"


def _ordered(context: dg.OutputContext | dg.InputContext) -> list[str]:
    """Dagster hands keys over in set order, another one in every process: put them into the definition's."""
    wanted = set(context.asset_partition_keys)
    if len(wanted) == 1:
        return list(wanted)
    return [key for key in every_partition(context) if key in wanted]


def every_partition(context: dg.OutputContext | dg.InputContext) -> Sequence[str]:
    """All partitions of the asset, in order."""
    instance = dagster_private.instance_of(context)
    return context.asset_partitions_def.get_partition_keys(dynamic_partitions_store=instance)


def _version(finished: Mapping[str, Metadata]) -> str:
    """What Dagster tells by whether what is made from a partition is out of date: its checksum.

    Dagster has one data version for all partitions of a run; of several it is made from all their checksums.
    """
    checksums = [str(metadata["checksum"]) for metadata in finished.values()]
    if len(checksums) == 1:
        return checksums[0]
    return xxhash.xxh3_128_hexdigest(" ".join(checksums).encode())


def _record_finished(context: dg.OutputContext, finished: Mapping[str, Metadata]) -> None:
    """Dagster records no partition of a run that fails; what is committed is recorded here."""
    for key, metadata in finished.items():
        tags = dagster_private.data_version_tag(_version({key: metadata}))
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata, tags=tags))


def _tell_failed(context: dg.OutputContext, failed: Mapping[str, ImgassetsError]) -> None:
    """The page of a partition shows its events: without one it is red, and says nothing."""
    for key, error in failed.items():
        text = str(error)
        context.log_event(
            dg.AssetObservation(context.asset_key, description=text, partition=key, metadata={"failed": text})
        )


def _failure(asset: str, failed: Mapping[str, ImgassetsError], total: int) -> dg.Failure:
    errors = list(failed.items())
    text = f"{asset}/{errors[0][0]}: {errors[0][1]}"
    if total > 1:
        text = f"{len(failed)} of {total} partitions failed. {text}"
    return dg.Failure(
        description=one_line(text),
        metadata={key: str(error) for key, error in errors},
        allow_retries=not all(isinstance(error, BadInput) for error in failed.values()),
    )


def _metadata(commit: Commit, seconds: float) -> Metadata:
    manifest = commit.manifest
    metadata: Metadata = {
        "path": dg.MetadataValue.path(str(commit.location.path)),
        "bytes": manifest.total_bytes,
        "files": len(manifest.files),
        "checksum": manifest.checksum,
        "state": "built" if commit.fresh else "unchanged, skipped",
        "seconds": round(seconds, 3),
        # of the process, which grows but never shrinks
        "peak_memory_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }
    if commit.fresh:
        metadata["MB/s"] = round(manifest.total_bytes / 1e6 / max(seconds, 1e-6), 1)
    if manifest.exceptions:
        metadata["exceptions"] = len(manifest.exceptions)
    for name, value in manifest.facts.items():
        metadata["dagster/row_count" if name == "rows" else name] = value
    return metadata

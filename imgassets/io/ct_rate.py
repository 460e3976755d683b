"""CT shards and their split's manifest as assets; both lie in one folder, which is what training code opens."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import dagster as dg
from pydantic import Field

from imgassets import ct_views
from imgassets.commit import Location, Manifest, Stage, Written
from imgassets.errors import BadInput, ImgassetsError, StoreError
from imgassets.formats import ct_split
from imgassets.formats.ct_shard import FORMAT, Members, Resampled, WrittenShard, write_shard
from imgassets.io import dagster_private
from imgassets.io.base import ArtifactIOManager, Metadata, every_partition
from imgassets.io.index import IndexIOManager

SHOWN = 3
"""Volumes of a shard in its picture."""


class ShardContent(Protocol):
    """What a shard is written from; `skipped`, `noted` and `axes` are complete once `samples` has ended."""

    skipped: list[dict[str, str]]
    noted: list[dict[str, str]]
    axes: dict[str, str]
    members: Members

    @property
    def nbytes(self) -> int:
        """About how large the shard will be."""

    def samples(self, work: Path) -> Iterator[Resampled]:
        """Samples in order; downloads pass through the folder `work`, which is removed again."""


class CtShardIOManager(ArtifactIOManager):
    """`<split>-000000` as the file `<split>/shard-000000.tar`; where its samples lie stands in its commit manifest."""

    format: ClassVar[str] = FORMAT
    folder: ClassVar[bool] = False
    show_reports: bool = Field(
        default_factory=lambda: os.environ.get("IMGASSETS_CT_SHOW_REPORTS", "") == "1",
        description="Show the beginning of reports in previews. They are patients' texts: off by default.",
    )

    def parts(self, asset_key: dg.AssetKey, partition: str) -> tuple[str, ...]:
        """Shards of a split share a folder."""
        split, _, number = partition.rpartition("-")
        return (*asset_key.path, split, f"shard-{number}.tar")

    def write(self, content: ShardContent, stage: Stage) -> Written:
        """Write a `ShardContent`."""
        stage.need(content.nbytes)
        name = f"{stage.recipe.artifact}-{stage.recipe.partition}".replace("/", "-")
        work = self.storage.vault.state / "downloads" / name
        with stage.create(stage.location.path.name) as sink:
            shard = write_shard(sink, content.samples(work), content.members)
            if not shard.samples:
                first = content.skipped[0]
                raise BadInput(
                    f"None of its volumes can be used ({first['key']}: {first['reason']}); an empty shard would break "
                    "readers: make shards larger (samples_per_shard)."
                )
        order = sorted(content.noted, key=lambda note: note["key"])
        axes = {"axes": content.axes} if content.axes else {}
        return Written({**shard.facts(), "noted": order, **axes}, content.skipped)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Say what is there, and commit."""
        for line in self.words_before(context.asset_key, every_partition(context)):
            context.log.info(line)
        super().handle_output(context, obj)

    def words_before(self, asset_key: dg.AssetKey, partitions: Sequence[str]) -> list[str]:
        """How many shards of each split are there, in the guide's words."""
        there = Counter[tuple[str, bool]]()
        for key in partitions:
            there[split_and_number(key)[0], self._location(asset_key, key).manifest.is_file()] += 1
        lines = []
        for split in dict.fromkeys(split for split, _ in there):
            found, missing = there[split, True], there[split, False]
            lines += [f"{split}: Found {found}/{found + missing} existing shards", f"{split}: Missing {missing} shards"]
        return lines

    def open(self, location: Location) -> WrittenShard:
        """What the shard holds, and where."""
        return WrittenShard.of(self.storage.vault.manifest(location).facts)

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """Slices of some volumes and the distribution of their HU; the samples' offsets stay in the manifest."""
        shard = WrittenShard.of(manifest.facts)
        metadata: Metadata = {"samples": len(shard.samples), "noted": len(manifest.facts["noted"])}
        shown = [shard.samples[i] for i in ct_views.spread(len(shard.samples), SHOWN)]
        if shown:
            volumes = [ct_split.map_volume(location.path, record) for record in shown]
            title = "Axial, coronal and sagittal slices of " + ", ".join(record.key for record in shown)
            metadata["slices"] = dg.MetadataValue.md(ct_views.slices(volumes, title))
            metadata["hu"] = dg.MetadataValue.md(ct_views.hu_histogram(volumes))
        if self.show_reports:
            texts = [f"- **{r.key}**: {ct_split.read_text(location.path, r)[:300]}" for r in shown]
            metadata["reports"] = dg.MetadataValue.md("\n".join(texts))
        if manifest.exceptions:
            metadata["skipped"] = dg.MetadataValue.json(list(manifest.exceptions))
        return metadata


@dataclass(frozen=True)
class ManifestContent:
    """What a split's manifest is written from: also how many volumes have each class, and sources these axes."""

    document: Mapping[str, Any]
    label_counts: Mapping[str, int]
    axes: Mapping[str, int]


class CtManifestIOManager(ArtifactIOManager):
    """`<dataset>/manifest` of a split as the file `<dataset>/shards/<split>/manifest.json`."""

    format: ClassVar[str] = "ct_manifest/2"
    folder: ClassVar[bool] = False
    aloud: ClassVar[bool] = True

    def parts(self, asset_key: dg.AssetKey, partition: str) -> tuple[str, ...]:
        """Beside the shards it describes."""
        return (*asset_key.path[:-1], "shards", partition, ct_split.MANIFEST)

    def write(self, content: ManifestContent, stage: Stage) -> Written:
        """Write a `ManifestContent`; raises StoreError where the folder holds a shard it does not list."""
        document = content.document
        listed = {entry["filename"] for entry in document["shards"]}
        stray = sorted({path.name for path in stage.location.path.parent.glob("*.tar")} - listed)
        if stray:
            raise StoreError(
                f"{stage.location.path.parent} holds {stray[0]} ({len(stray)} such files), which the index does not "
                "have: it is left from other settings or another commit; delete it and run again."
            )
        with stage.create(ct_split.MANIFEST) as sink:
            sink.write(ct_split.dump(document))
        facts = {name: document[name] for name in ("total_shards", "total_samples", "revision")}
        axes = {"axes": dict(content.axes)} if content.axes else {}
        return Written({**facts, "label_counts": dict(content.label_counts), **axes}, document["skipped"])

    def words_after(self, location: Location, manifest: Manifest) -> list[str]:
        """Where it is, and its totals, in the guide's words."""
        samples, shards = manifest.facts["total_samples"], manifest.facts["total_shards"]
        return [f"Generated manifest: {location.path}", f"   Total samples: {samples}", f"   Total shards: {shards}"]

    def open(self, location: Location) -> ct_split.CtSplit:
        """The split's samples."""
        return ct_split.CtSplit(location.path.parent)

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """Prevalence of each class, and what was left out."""
        counts, total = manifest.facts["label_counts"], manifest.facts["total_samples"]
        metadata: Metadata = {"label_counts": dg.MetadataValue.md(ct_views.prevalence(counts, total))}
        if axes := manifest.facts.get("axes"):
            metadata["axes of the sources"] = dg.MetadataValue.json(dict(axes))
        if manifest.exceptions:
            metadata["skipped"] = dg.MetadataValue.json(list(manifest.exceptions[:200]))
        return metadata


class CtIndexIOManager(IndexIOManager):
    """An index whose rows fix the partitions of the shards: they are registered when it is there."""

    def describe(self, location: Location, manifest: Manifest) -> Metadata:
        """What the split will take, beside the columns: per sample, as a whole, and what is free."""
        facts = manifest.facts
        sizes = {
            "download": facts["source_bytes"],
            "one sample": facts["sample_bytes"],
            "one shard": facts["sample_bytes"] * min(facts["samples_per_shard"], facts["volumes_in_shards"]),
            "all shards": facts["output_bytes"],
            "free": shutil.disk_usage(location.root if location.root.exists() else location.root.parent).free,
        }
        lines = [f"| {name} | {size / 1e9:,.2f} GB |" for name, size in sizes.items()]
        estimate = dg.MetadataValue.md("\n".join(["| disk | |", "|---|--:|", *lines]))
        return {"estimate": estimate} | super().describe(location, manifest)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Commit, then register one partition per shard and deregister those the index no longer has."""
        try:
            super().handle_output(context, obj)
        finally:
            for split in context.asset_partition_keys:
                context.log.info(self.register(dagster_private.instance_of(context), context.asset_key, split))

    def register(self, instance: dg.DagsterInstance, asset_key: dg.AssetKey, split: str) -> str:
        """Tell Dagster of the shards that the index of a split has; says what is new to it."""
        try:
            facts = self.artifact(asset_key, split).manifest.facts
        except (ImgassetsError, OSError) as error:  # the commit has said why there is none
            return f"no partitions for {split}: {error}"
        name = partitions_name(asset_key.path[0])
        wanted = [shard_partition(split, number) for number in range(facts["shards"])]
        known = {key for key in instance.get_dynamic_partitions(name) if key.rpartition("-")[0] == split}
        if new := [key for key in wanted if key not in known]:
            instance.add_dynamic_partitions(name, new)
        stale = sorted(known - set(wanted))
        for key in stale:
            instance.delete_dynamic_partition(name, key)
        return f"{split}: {len(wanted)} shards, {len(new)} new, {len(stale)} no longer there {stale}"


def partitions_name(dataset: str) -> str:
    """Name of the dynamic partitions of a dataset's shards."""
    return f"{dataset}_shards"


def shard_partition(split: str, number: int) -> str:
    """Partition key of a shard."""
    return f"{split}-{number:06d}"


def split_and_number(partition: str) -> tuple[str, int]:
    """The split and the number of a shard from its partition key; raises StoreError for what is no such key."""
    split, _, number = partition.rpartition("-")
    if not split or len(number) != 6 or not number.isdigit():
        raise StoreError(f"{partition!r} names no shard: expected a key such as train-000000.")
    return split, int(number)

"""What is proven of CT artifacts, with numbers."""

import hashlib

import dagster as dg
import numpy as np

from imgassets.components.checks import Finding, all_accounted_for, artifact_check
from imgassets.components.ct.axes import one_way_up
from imgassets.formats.ct_shard import records_of
from imgassets.formats.ct_split import MANIFEST, NAME, map_volume
from imgassets.io.artifacts import Artifact


def ct_checks(
    index: dg.AssetsDefinition, shards: dg.AssetsDefinition, manifest: dg.AssetsDefinition
) -> list[dg.AssetChecksDefinition]:
    """All checks of one dataset."""
    return [
        artifact_check(index, "tables_agree_with_tree", _tables_agree, warn=True),
        artifact_check(index, "membership_complete", _membership_complete),
        artifact_check(index, "all_accounted_for", all_accounted_for),
        artifact_check(shards, "samples_valid", _samples_valid),
        artifact_check(manifest, "counts_add_up", _counts_add_up),
        artifact_check(manifest, "one_way_up", one_way_up, warn=True),
    ]


def _tables_agree(index: Artifact) -> Finding:
    """Every listed volume is in the repository, every volume has its rows and a spacing, and no name comes twice.

    Beside it is told how many volumes in shards have a report that says nothing.
    """
    report = index.open().report
    kinds = ("listed_but_absent", "present_but_unlisted", "without_spacing", "names_of_two_files", "rows_contradicted")
    numbers = {kind: len(report[kind]) for kind in kinds}
    found = [f"{count} {kind.replace('_', ' ')}" for kind, count in numbers.items() if count]
    told = {"without_report": len(empty)} if (empty := report.get("without_report")) else {}
    return Finding(not found, numbers | told, ", ".join(found) or "tables and tree agree")


def _membership_complete(index: Artifact) -> Finding:
    """Every volume is in exactly one shard or left out with a reason, and every shard but the last is full."""
    table, facts = index.open().table(["key", "shard", "skip"]), index.manifest.facts
    shards = np.array([-1 if s is None else s for s in table["shard"].to_pylist()])
    reasons = np.array([s is not None for s in table["skip"].to_pylist()])
    sizes = np.bincount(shards[shards >= 0], minlength=facts["shards"])
    unique = len(set(table["key"].to_pylist())) == len(table)
    full = bool((sizes[:-1] == facts["samples_per_shard"]).all()) and 0 < sizes[-1] <= facts["samples_per_shard"]
    passed = unique and full and len(sizes) == facts["shards"] and bool(((shards < 0) == reasons).all())
    numbers = {"volumes": len(table), "in_shards": int((shards >= 0).sum()), "shards": len(sizes)}
    return Finding(passed, numbers, f"{numbers['in_shards']} of {len(table)} volumes in {len(sizes)} shards")


def _samples_valid(shard: Artifact) -> Finding:
    """Members lie where the manifest says; volumes are finite, in their range, not blank, and have their SHA-256."""
    import torch

    said, path, config = shard.open(), shard.location.path, shard.manifest.settings
    found = {record.key: record for record in records_of(path)}
    low, high = (bound / config["divisor"] for bound in config["hu_clip"])
    low, high = min(low, config["pad_value"]), max(high, config["pad_value"])
    bad = [key for key in found if key not in {record.key for record in said.samples}]
    for record in said.samples:
        other = found.get(record.key)
        volume = map_volume(path, record)
        least, most = map(float, torch.aminmax(torch.from_numpy(volume)))  # NaN passes through, and fails what follows
        sound = other is not None and other.members == record.members and low <= least < most <= high
        if not sound or hashlib.sha256(volume.data).hexdigest() != record.sha256:
            bad.append(record.key)
    numbers = {"samples": len(said.samples), "bad": len(bad), "skipped": len(shard.manifest.exceptions)}
    return Finding(not bad, numbers, f"{bad[0]} is not sound" if bad else f"{len(said.samples)} samples are sound")


def _counts_add_up(manifest: Artifact) -> Finding:
    """Shards, samples and bytes of `manifest.json` are those on disk, and no volume is in two places."""
    split = manifest.open()
    document, folder = split.manifest, manifest.location.path.parent
    files = sorted(path.name for path in folder.glob("*.tar"))
    listed = [entry["filename"] for entry in document["shards"]]
    keys = [*split.study_ids, *(entry["key"] for entry in document["skipped"])]
    numbers = {"shards": len(listed), "samples": len(split), "skipped": len(document["skipped"])}
    passed = (
        files == listed
        and all(NAME.fullmatch(name) for name in listed)
        and document["total_shards"] == len(listed)
        and document["total_samples"] == len(split) == sum(entry["num_samples"] for entry in document["shards"])
        and all((folder / e["filename"]).stat().st_size == e["size_bytes"] for e in document["shards"])
        and len(set(keys)) == len(keys)
    )
    text = f"{len(split)} samples in {len(listed)} shards, {len(document['skipped'])} left out"
    return Finding(passed, numbers, text if passed else f"{MANIFEST} and the folder disagree: {text}")

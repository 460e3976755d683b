"""The graph as text, a file per dataset beside this module: `python -m tests.definitions.snapshot` writes them anew."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from imgassets.definitions import defs

FOLDER = Path(__file__).parent


def graph() -> dict[str, str]:
    """By dataset (the first part of an asset's key): its assets with their partitions, checks and jobs, one a line."""
    loaded = defs()
    assets = loaded.resolve_asset_graph()
    lines: dict[str, set[str]] = {}
    for key in assets.materializable_asset_keys:
        partitions = assets.get(key).partitions_def
        assert partitions is not None
        keys = [] if isinstance(partitions, dg.DynamicPartitionsDefinition) else partitions.get_partition_keys()
        extent = f"{len(keys)} partitions, {keys[0]} to {keys[-1]}" if keys else "dynamic partitions"
        lines.setdefault(key.path[0], set()).add(f"asset {key.to_user_string()}: {extent}")
    for check in assets.asset_check_keys:
        lines[check.asset_key.path[0]].add(f"check {check.asset_key.to_user_string()}: {check.name}")
    for job in loaded.resolve_all_job_defs():
        # a job without assets, such as `full`, or of several datasets belongs to none
        datasets = {key.path[0] for key in job.asset_layer.selected_asset_keys}
        if len(datasets) == 1 and not job.name.startswith("__"):
            lines[datasets.pop()].add(f"job {job.name}")
    return {dataset: "\n".join(sorted(found)) + "\n" for dataset, found in lines.items()}


if __name__ == "__main__":
    for dataset, text in graph().items():
        (FOLDER / f"{dataset}.txt").write_text(text)

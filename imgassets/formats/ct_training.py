"""What the training of CTCLIP_MODERN is told of shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def training_yaml(folders: Mapping[str, Path], shards: Mapping[str, int]) -> bytes:
    """What CTCLIP_MODERN's guide has its training configuration say of splits, each in its folder.

    Later versions of it call the patterns otherwise; both names are there.
    """
    lines = ["# made by imgassets, from the manifests beside it", "data:"]
    for split, folder in folders.items():
        pattern = json.dumps(f"{folder}/shard-{{000000..{shards[split] - 1:06d}}}.tar", ensure_ascii=False)
        later = {"valid": "val"}.get(split, split)
        lines += [f"  {split}_shard_pattern: {pattern}", f"  webdataset_shards_{later}: {pattern}"]
    return "\n".join([*lines, "  preprocessed: true", "  num_workers: 8", ""]).encode()

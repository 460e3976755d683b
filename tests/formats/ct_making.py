"""Small splits of CT shards for tests."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from imgassets.formats.ct_shard import Members, Resampled, WrittenShard, write_shard
from imgassets.formats.ct_split import dump, shard_name, split_manifest

SHAPE = (6, 5, 4)
REPORTS = ("No pathology: café, ≤5 mm, µ.", "", "x" * 511, "y" * 512, "z" * 513)


def sample(number: int, shape: tuple[int, ...] = SHAPE) -> Resampled:
    array = np.random.default_rng(number).uniform(-1, 1, shape).astype(np.float16)
    labels = tuple(int(bit) for bit in np.random.default_rng(number).integers(0, 2, 18))
    digest = hashlib.sha256(array.data).hexdigest()
    return Resampled(
        f"train_{number}_a_1", array, REPORTS[number % 5], labels, (512, 512, 300), (0.7, 0.7, 1.0), digest
    )


def shard_bytes(samples: list[Resampled], members: Members = "guide") -> tuple[bytes, WrittenShard]:
    sink = io.BytesIO()
    shard = write_shard(sink, samples, members)
    return sink.getvalue(), shard


def write_split(folder: Path, members: Members = "guide") -> Path:
    """Five samples in shards of three."""
    shards = []
    for index, numbers in enumerate(([0, 1, 2], [3, 4])):
        data, shard = shard_bytes([sample(n) for n in numbers], members)
        (folder / shard_name(index)).write_bytes(data)
        shards.append(shard)
    document = split_manifest(
        "train",
        shards,
        skipped=[{"key": "train_9_a_1", "reason": "blank"}],
        noted=[],
        class_names=[f"c{i}" for i in range(18)],
        shape=SHAPE,
        samples_per_shard=3,
        preprocessing={},
        revision="0" * 40,
    )
    (folder / "manifest.json").write_bytes(dump(document))
    return folder

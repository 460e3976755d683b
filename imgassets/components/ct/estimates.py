"""What a shard of CT volumes and a split's manifest weigh, told from the index."""

import json
from collections.abc import Sequence

import numpy as np

from imgassets.formats.ct_shard import Resampled
from imgassets.formats.ustar import END, RECORD, member_bytes
from imgassets.io.artifacts import Estimate
from imgassets.sources.ct_rate import VolumeRow
from imgassets.volumes.grid import Preprocessing
from imgassets.volumes.samples import INFLATED

MANIFEST_BYTES, SHARD_ENTRY, SAMPLE_ENTRY = 1_230, 190, 432
"""Of a split's manifest, of each shard in it, and of each sample."""
SHARD_MEMORY = 300 * 2**20
"""Bytes of memory beside volumes: torch and the libraries."""
VOLUME_SECONDS = 4.0
"""CPU seconds of one volume of 512 × 512 × 300 on one core, download not counted."""


def shard_estimate(rows: Sequence[VolumeRow], recipe: Preprocessing, workers: int) -> Estimate:
    """A shard, to the byte, if all of its volumes can be used."""
    like = np.broadcast_to(np.float16(0), recipe.shape)
    files = [row.file.size for row in rows if row.file]
    first = rows[0]
    sample = Resampled(first.key, like, "", first.labels, (512, 512, 300), first.spacing or (1.0, 1.0, 1.0), "")
    document = len(json.dumps(sample.document(), ensure_ascii=False).encode())  # one block, whatever the sample
    total = len(rows) * sum(map(member_bytes, (recipe.nbytes, 4 * len(first.labels), document)))
    total += sum(member_bytes(len(row.report.encode())) for row in rows)
    return Estimate(
        write=-(-(total + len(END)) // RECORD) * RECORD,
        read=sum(files),
        memory=SHARD_MEMORY + (workers + 1) * recipe.nbytes + workers * int(max(files) * INFLATED),
        seconds=len(rows) * VOLUME_SECONDS / workers,
    )


def manifest_estimate(samples: int, shards: int) -> Estimate:
    """A manifest of this many samples; the shards themselves are not read."""
    return Estimate(MANIFEST_BYTES + SHARD_ENTRY * shards + SAMPLE_ENTRY * samples, read=0)

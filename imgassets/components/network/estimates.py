"""What activations and images of a network weigh, and how long they take: told from shapes, nothing is computed."""

import io
import json
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.formats.activation_npz import write_npz
from imgassets.formats.ustar import BLOCK, END
from imgassets.granted import granted_cpus
from imgassets.io.artifacts import Estimate
from imgassets.models.statistics import Moments

PNG_SHARE = 0.8
"""Bytes of a PNG of a photograph of 64×64, by those of its pixels (measured on sample images: 0.76 to 0.81)."""
FEATURES = (3_000, 0.93)
"""Of `features.parquet`: schema and footer of each layer; and bytes by those of its values (floats hardly compress)."""
TRUNK_SECONDS, WHOLE_SECONDS = 0.63, 2.0
"""CPU seconds of one image through the published network, to its middle and to its end, on one core."""
PUBLISHED_CHANNELS = 192
NETWORK_MEMORY = 3 * 2**30
"""Bytes of memory: torch, 1.2 GB of weights, and a batch on its way."""


def activation_bytes(
    layers: Mapping[str, Sequence[int]], rows: int, batch: int, values: Mapping[str, int], width: int, source: str
) -> int:
    """Bytes of `batch_*.npz` and `.json`, `features.parquet` and `moments.npz` of `rows` samples.

    `layers` are (channels, height, width), `values` the numbers that are kept of a sample, `width` the bytes of each.
    """
    kind = {2: "<f2", 4: "<f4"}[width]
    sizes = tuple(values.items())
    whole, rest = divmod(rows, batch)
    total = whole * _npz_bytes(sizes, batch, kind) + (_npz_bytes(sizes, rest, kind) if rest else 0)
    total += (whole + bool(rest)) * 60 + rows * _document_bytes(rows, source)
    fixed, share = FEATURES
    for channels, *_ in layers.values():
        total += fixed + int(share * rows * (4 * channels + 8))
    moments = {
        name: array
        for layer, (channels, *_) in layers.items()
        for name, array in Moments.zeros(channels).as_arrays(layer).items()
    }
    return total + _written(moments)


def png_bytes(rows: int, edge: int, single_files: bool) -> int:
    """Bytes of `rows` PNG images of `edge` × `edge`, in a tar or each on its own."""
    each = int(PNG_SHARE * 3 * edge * edge)
    return rows * each if single_files else rows * (BLOCK + each + BLOCK // 2) + len(END)


def network_estimate(write: int, rows: int, read: int, channels: int, whole: bool) -> Estimate:
    """An estimate for `rows` images through a network of `channels`, to its end or only to its middle."""
    work = rows * (WHOLE_SECONDS if whole else TRUNK_SECONDS) * (channels / PUBLISHED_CHANNELS) ** 2
    return Estimate(write, rows, read, NETWORK_MEMORY, work / granted_cpus())


@cache
def _npz_bytes(values: tuple[tuple[str, int], ...], rows: int, kind: str) -> int:
    return _written({name: np.zeros((rows, count), kind) for name, count in values})


def _written(arrays: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> int:
    counted = _Counted()
    write_npz(counted, dict(arrays))  # type: ignore[arg-type]
    return counted.count


class _Counted:
    """Counts what a sink would take."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes) -> int:
        self.count += (size := memoryview(data).nbytes)
        return size

    def tell(self) -> int:
        return self.count


def _document_bytes(rows: int, source: str) -> int:
    """Of what the JSON says of a sample like most."""
    classes = imagenet_classes()
    document = {
        "batch_index": 33,
        "global_index": rows,
        "class_id": 500,
        "synset_id": classes.synsets[500],
        "class_name": "x" * round(sum(map(len, classes.names)) / len(classes.names)),
        "original_path": f"npz_sample_{rows}",
        "source": source,
        "conditioning_sigma": 80.0,
    }
    text = io.StringIO()
    json.dump({"samples": [document, document]}, text, indent=1)
    return len(text.getvalue()) // 2 - 8

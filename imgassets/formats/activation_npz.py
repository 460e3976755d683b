"""Activations in the layout of the DMD2 visualizer: `batch_000000.npz` with one array per layer, `.json` beside it.

The arrays are (B, C*H*W), the C-order flattening of (C, H, W), or (B, C) where pooled; uncompressed by default, since
compressing costs forty times the writing and saves 7 %. Beside the batches lie `features.parquet`, one row per sample,
and `moments.npz`, count, mean and scatter of the pooled features of each layer.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets import documents
from imgassets.commit import Stage
from imgassets.errors import StoreError
from imgassets.formats.features import FEATURES
from imgassets.formats.one_way import OneWay

if TYPE_CHECKING:
    import pyarrow as pa

    from imgassets.commit import Sink

MOMENTS = "moments.npz"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Date of every member: the earliest a ZIP file can say, so that the bytes know no clock."""


def write_npz(sink: Sink, arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> None:
    """Write an NPZ file front to back; `np.load` reads it."""
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(OneWay(sink), "w", kind) as archive:
        for name, values in arrays.items():
            array = np.ascontiguousarray(values).reshape(values.shape)  # the former makes a row of a single number
            info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            info.compress_type = kind
            with archive.open(info, "w", force_zip64=True) as member:
                header = _NpyHeader()
                np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
                member.write(header.data)
                member.write(array.reshape(-1).view(np.uint8).data)


def write_batch(
    stage: Stage,
    number: int,
    layers: Mapping[str, NDArray[Any]],
    samples: Sequence[Mapping[str, Any]],
    *,
    compressed: bool = False,
) -> None:
    """Write one batch: layer -> (B, n) float32 or float16, and what is known of each of its B samples.

    `samples` are JSON objects; `batch_index` is added. Raises `ValueError` if the numbers of rows differ.
    """
    if any(len(rows) != len(samples) for rows in layers.values()):
        raise ValueError(
            f"batch {number}: {len(samples)} samples, but { ({k: len(v) for k, v in layers.items()}) } rows"
        )
    with stage.create(f"batch_{number:06d}.npz") as sink:
        write_npz(sink, layers, compressed=compressed)
    document = {
        "batch_size": len(samples),
        "layers": list(layers),
        "samples": [{"batch_index": i, **sample} for i, sample in enumerate(samples)],
    }
    with stage.create(f"batch_{number:06d}.json") as sink:
        sink.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")


@dataclass(frozen=True)
class ActivationReader:
    """Reads a partition's folder."""

    path: Path

    @property
    def batches(self) -> list[Path]:
        """The NPZ files in order."""
        return sorted(self.path.glob("batch_??????.npz"))

    def read(self, number: int) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]]:
        """Arrays by layer, and the samples, of one batch; `StoreError` if the two files do not fit each other."""
        path = self.path / f"batch_{number:06d}.npz"
        layers = _members(path)
        samples = samples_of(path)
        if any(rows.shape[:1] != (len(samples),) for rows in layers.values()):
            raise StoreError(f"{path} and its .json disagree on the number of samples; materialize the partition again")
        return layers, samples

    def features(self, columns: list[str] | None = None) -> pa.Table:
        """The rows of `features.parquet`, all columns or some."""
        import pyarrow.parquet as pq

        with _sound(self.path / FEATURES) as path:
            return pq.read_table(path, columns=columns, page_checksum_verification=True)

    def moments(self) -> dict[str, NDArray[Any]]:
        """The members of `moments.npz`."""
        return _members(self.path / MOMENTS)


def samples_of(batch: Path) -> list[dict[str, Any]]:
    """The samples of a batch's `.npz`, as the `.json` beside it lists them; `StoreError` if that is damaged."""
    with _sound(batch.with_suffix(".json")) as path:
        samples = documents.parse(path.read_text(encoding="utf-8"))["samples"]
        return [dict(sample) for sample in samples]


def _members(path: Path) -> dict[str, NDArray[Any]]:
    with _sound(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@contextmanager
def _sound(path: Path) -> Iterator[Path]:
    """Whatever numpy, zipfile, zlib and Arrow raise of a damaged file, as one of our errors."""
    try:
        yield path
    except Exception as error:
        raise StoreError(f"{path} cannot be read ({error!r}): materialize the partition again.") from error


class _NpyHeader:
    """Takes the few writes of an array's header."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

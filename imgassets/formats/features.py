"""`features.parquet`: one row per sample with its pooled features, largest absolute value and L2 norm by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput
from imgassets.formats.one_way import OneWay

if TYPE_CHECKING:
    import pyarrow as pa

    from imgassets.commit import Sink

FEATURES = "features.parquet"
GROUP = 2048
"""Rows gathered before a row group is written, however small the batches they come in."""


class FeatureWriter:
    """Writes `features.parquet`: per sample its global index, class, and of each layer the pooled features,
    largest absolute value and L2 norm. Memory is that of one row group, of about `GROUP` rows.

    Args:
        sink: where the file goes.
        channels: layer -> number of its channels.
    """

    def __init__(self, sink: Sink, channels: Mapping[str, int]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields: list[pa.Field[Any]] = [pa.field("global_index", pa.int64()), pa.field("class_id", pa.int64())]
        for layer, width in channels.items():
            fields += [
                pa.field(layer, pa.list_(pa.float32(), width)),
                pa.field(f"{layer}_absmax", pa.float32()),
                pa.field(f"{layer}_norm", pa.float32()),
            ]
        self.schema = pa.schema(fields)
        self._waiting: list[pa.RecordBatch] = []
        self._file = pa.PythonFile(OneWay(sink), mode="w")
        self._writer = pq.ParquetWriter(
            self._file, self.schema, compression="zstd", use_dictionary=False, write_page_checksum=True
        )

    def append(
        self,
        index: NDArray[np.int64],
        class_ids: NDArray[np.int64],
        pooled: Mapping[str, NDArray[np.float32]],
        absmax: Mapping[str, NDArray[np.float32]],
        norm: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Add the B rows of a batch: (B,), (B,) and by layer (B, C), (B,), (B,)."""
        import pyarrow as pa

        columns: list[pa.Array[Any]] = [pa.array(index), pa.array(class_ids)]
        for layer, rows in pooled.items():
            flat = pa.array(np.ascontiguousarray(rows, np.float32).reshape(-1))
            columns += [
                pa.FixedSizeListArray.from_arrays(flat, rows.shape[1]),
                pa.array(absmax[layer]),
                pa.array(norm[layer]),
            ]
        self._waiting.append(pa.record_batch(columns, schema=self.schema))
        if sum(len(batch) for batch in self._waiting) >= GROUP:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
        self._waiting = []


def pooled_matrix(table: pa.Table, layer: str) -> NDArray[np.float32]:
    """(N, C) float32 of a layer's pooled features; `BadInput` if the table has no such layer."""
    if layer not in table.schema.names:
        raise BadInput(f"{FEATURES} has no layer {layer!r}, only {', '.join(table.schema.names[2::3])}")
    column: Any = table.column(layer).combine_chunks()
    flat: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), column.type.list_size)

"""Fields as Arrow columns, shared by Arrow IPC and Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from imgassets.columns import Column, Field, as_bytes
from imgassets.errors import BadInput


def type_of(field: Field) -> Any:
    """Arrow's type of a field: its own for numbers, `fixed_size_binary` for arrays, `large_binary` for files."""
    import pyarrow as pa

    if field.kind == "text":
        return pa.large_string()
    if field.kind == "file":
        return pa.large_binary()
    if not field.scalar:
        return pa.binary(field.nbytes)
    try:
        return pa.from_numpy_dtype(np.dtype(field.dtype))
    except (NotImplementedError, pa.ArrowNotImplementedError) as error:
        raise BadInput(f"Field {field.name!r}: Arrow has no numbers of dtype {field.dtype}; use memmap.") from error


def schema_of(fields: Sequence[Field], metadata: dict[str, str] | None = None) -> Any:
    """The schema of a shard; each column's metadata says shape, dtype and layout."""
    import pyarrow as pa

    about = cast(dict[bytes | str, bytes | str] | None, metadata)
    columns = [
        pa.field(f.name, type_of(f), nullable=False, metadata={"imgassets": json.dumps(f.to_json(), sort_keys=True)})
        for f in fields
    ]
    return pa.schema(columns, metadata=about)


def array_of(field: Field, column: Column) -> Any:
    """Rows as an Arrow array, around the same memory where the rows are an array."""
    import pyarrow as pa

    if field.kind != "array":
        return pa.array([bytes(row) for row in column], pa.large_binary()).cast(type_of(field))
    raw = as_bytes(field, column)
    if field.scalar:
        return pa.array(raw.view(field.dtype).reshape(-1), type_of(field))
    return pa.FixedSizeBinaryArray.from_buffers(type_of(field), len(raw), [None, pa.py_buffer(raw.data)])


def column_of(field: Field, array: Any) -> Column:
    """The inverse of `array_of`."""
    import pyarrow as pa

    if field.kind != "array":
        return [view.as_buffer().to_pybytes() for view in array.cast(pa.large_binary())]
    if field.scalar:
        return np.asarray(array.to_numpy(zero_copy_only=False), np.dtype(field.dtype))
    raw = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * field.nbytes :][: len(array) * field.nbytes]
    return raw.view(field.dtype).reshape(len(array), *field.shape)

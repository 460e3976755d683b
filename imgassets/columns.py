"""The content of an image store: fields, and blocks of rows as columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["array", "file", "text"]
Column = NDArray[Any] | Sequence[bytes]
"""Rows of one field: an array (rows, *shape), or one byte string per row for fields of variable size."""
Columns = Mapping[str, Column]


@dataclass(frozen=True)
class Field:
    """One field of every row.

    `array`: values of one dtype and shape (`()` for a scalar). `file`: one encoded image file (JPEG, PNG, …, or NPY)
    of any size, byte for byte as the source has it. `text`: UTF-8.
    """

    name: str
    kind: Kind
    dtype: str = "|u1"
    shape: tuple[int, ...] = ()
    layout: str = ""
    """Meaning of the axes of pixels: `CHW`, `HWC` or `HW`; empty for anything else."""
    mode: str = ""
    """Pillow's mode of the pixels, e.g. `RGB`; empty where there is none."""

    @property
    def ragged(self) -> bool:
        """Whether rows differ in size."""
        return self.kind != "array"

    @property
    def scalar(self) -> bool:
        """Whether a row is one number."""
        return self.kind == "array" and self.shape == ()

    @property
    def nbytes(self) -> int:
        """Bytes of one row of an array field."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Field:
        """The inverse of `to_json`; ValueError or KeyError for anything else."""
        field = cls(**{**document, "shape": tuple(map(int, document["shape"]))})
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", field.name) or field.kind not in {"array", "file", "text"}:
            raise ValueError(f"field {field.name!r} of kind {field.kind!r}")
        if np.dtype(field.dtype).hasobject or any(n < 1 for n in field.shape):
            raise ValueError(f"dtype {field.dtype} and shape {field.shape}")
        return field


def array_field(name: str, dtype: Any, shape: Sequence[int] = (), layout: str = "", mode: str = "") -> Field:
    """A field of arrays, stored little-endian.

    Raises:
        BadInput: an axis of length 0, or a dtype that is not a number.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    if kind.kind not in "biufc":
        raise BadInput(f"Field {name!r} has dtype {kind}: a store holds numbers; convert it first.")
    if any(n < 1 for n in shape):
        raise BadInput(f"Field {name!r} has shape {tuple(shape)}: every axis must be at least 1 long.")
    return Field(name, "array", kind.str, tuple(int(n) for n in shape), layout, mode)


def rows_of(columns: Columns) -> int:
    """Number of rows of a block."""
    return len(next(iter(columns.values())))


def numbers(column: pa.ChunkedArray[Any]) -> NDArray[Any]:
    """A column of numbers without nulls as an array (rows,), around the same memory where it is in one piece."""
    return np.from_dlpack(column.combine_chunks())  # not to_numpy, which imports pandas


def as_bytes(field: Field, column: Column) -> NDArray[np.uint8]:
    """Rows of an array field as (rows, nbytes) uint8, C-contiguous, little-endian.

    Raises:
        BadInput: the rows have another shape, or values that the field's dtype does not hold.
    """
    array = np.asarray(column)
    dtype = np.dtype(field.dtype)
    if array.shape[1:] != field.shape:
        raise BadInput(f"Field {field.name!r} has rows of shape {array.shape[1:]}, expected {field.shape}.")
    if array.dtype != dtype:
        cast = array.astype(dtype)
        if not np.array_equal(cast, array):
            raise BadInput(f"Field {field.name!r} has {array.dtype} values that {dtype} cannot hold.")
        array = cast
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)

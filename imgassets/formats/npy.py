"""Headers of NPY files: the one place that knows them."""

from __future__ import annotations

import ast
import math
from typing import IO, Any

import numpy as np

from imgassets.errors import StoreError

PAGE = 4096
"""Bytes; an array that begins at a page of the file can be mapped and read directly."""


def header(dtype: Any, shape: tuple[int, ...], align: int = PAGE) -> bytes:
    """An NPY 1.0 header (numpy's NEP 1) of a C-ordered array, padded with spaces to a multiple of `align` bytes."""
    text = f"{{'descr': {np.dtype(dtype).str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    length = -(-(10 + len(text) + 1) // align) * align - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode() + b"\n"


def read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype and the position of the first value.

    Raises:
        StoreError: it is no NPY file, holds objects, or is in Fortran order.
    """
    # numpy's own reader takes seconds for a damaged header of 4 KiB, and reads what only Python 2 wrote
    try:
        magic = file.read(10)
        if magic[:8] != b"\x93NUMPY\x01\x00":
            raise ValueError("another magic number or version")
        said = ast.literal_eval(file.read(int.from_bytes(magic[8:], "little")).decode("latin1").strip())
        shape, dtype = tuple(said["shape"]), np.dtype(said["descr"])
        if said["fortran_order"] or dtype.hasobject or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("Fortran order, objects, or a shape that is none")
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise StoreError(f"{name} is no NPY file of plain values ({error}): rebuild the store.") from error
    return shape, dtype, file.tell()


def read_array(file: IO[bytes], name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """A whole array; StoreError where the file is damaged."""
    shape, dtype, _ = read_header(file, name)
    data = file.read()  # never as much as a header that lies asks for
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise StoreError(
            f"{name} holds {len(data)} bytes of values, its header says {shape} {dtype}: rebuild the store."
        )
    return np.frombuffer(data, dtype).reshape(shape)


def dump(array: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    """A whole NPY file with an ordinary header."""
    return header(array.dtype, array.shape, 64) + np.ascontiguousarray(array).tobytes()

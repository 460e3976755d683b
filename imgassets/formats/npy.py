"""Headers of NPY files: the one place that knows them."""

from __future__ import annotations

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
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if fortran or dtype.hasobject:
            raise ValueError("Fortran order or objects")
    except (ValueError, EOFError, OSError) as error:
        raise StoreError(f"{name} is no NPY file of plain values ({error}): rebuild the store.") from error
    return shape, dtype, file.tell()


def read_array(file: IO[bytes], name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """A whole array; StoreError where the file is damaged."""
    shape, dtype, _ = read_header(file, name)
    count = int(np.prod(shape, dtype=np.int64))
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise StoreError(f"{name} is cut short: {len(data)} bytes of values, its header says {shape} {dtype}.")
    return np.frombuffer(data, dtype).reshape(shape)


def dump(array: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    """A whole NPY file with an ordinary header."""
    return header(array.dtype, array.shape, 64) + np.ascontiguousarray(array).tobytes()

"""Volumes made for tests, and NIfTI files written field by field, so that every field can be made wrong."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}


def chest(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray[Any, np.dtype[np.int16]]:
    """int16 HU (x, y, z), different along every axis and in every direction: soft tissue, air, a bright corner."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    volume = -900 + 700 * x + 500 * y**2 + 300 * np.sqrt(z) + rng.normal(0, 60, shape)
    volume[: shape[0] // 4 + 1, : shape[1] // 3 + 1, : shape[2] // 5 + 1] = 1700
    return volume.round().astype(np.int16)


def nifti_bytes(
    data: np.ndarray[Any, Any],
    spacing: tuple[float, ...] = (1.0, 1.0, 1.5),
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    order: str = "<",
    dims: tuple[int, ...] | None = None,
    magic: bytes = b"n+1\0",
    offset: float = 352,
    code: int | None = None,
) -> bytes:
    """A NIfTI-1 file of `data` (x, y, z, ...); `dims` (ndim first), `magic`, `offset` and `code` may lie."""
    header = bytearray(352)
    dims = dims or (data.ndim, *data.shape)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, *dims, *[1] * (8 - len(dims)))
    kind = data.dtype.newbyteorder("=").str[1:]
    struct.pack_into(order + "hh", header, 70, CODES[kind] if code is None else code, data.dtype.itemsize * 8)
    struct.pack_into(order + "8f", header, 76, 1, *spacing, *[1] * (7 - len(spacing)))
    struct.pack_into(order + "3f", header, 108, offset, slope, intercept)
    header[344:348] = magic
    return bytes(header) + data.astype(data.dtype.newbyteorder(order)).tobytes("F")


def gz(data: bytes) -> bytes:
    """gzip without a time."""
    return gzip.compress(data, 1, mtime=0)

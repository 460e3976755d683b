"""From a training array back to the patient: a NIfTI file that lies over the one it was made from."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgassets.errors import BadInput
from imgassets.volumes.nifti import DTYPES

CODES = {np.dtype(name): code for code, name in DTYPES.items()}
HEAD = 352
MOST = 32767
"""Voxels along an axis that NIfTI-1 can say."""


def to_patient(
    array: Any, meta: Mapping[str, Any], path: str | Path | None = None, start: Sequence[int] = (0, 0, 0)
) -> bytes:
    """A NIfTI-1 file of `array` (x, y, z), in the place of the patient that `meta` says; written to `path` if given.

    `meta` is the sample's `.json` (`CtStore.document`); the array a volume of its grid, a prediction or a mask on it,
    or a crop that begins at voxel `start`. bool and float16, which NIfTI has no numbers for, become uint8 and float32.
    A `path` that ends in `.gz` is compressed; what is returned is not.

    Raises:
        BadInput: `meta` says no place, or the array is nothing that NIfTI can hold.
    """
    affine = meta.get("affine")
    if affine is None:
        raise BadInput(
            f"The .json of {str(meta.get('study_id'))[:80]} has no affine: its file does not say which way up it is, "
            "or the shards were made without (CT-RATE's are, unless orientation is RAS)."
        )
    image = np.asarray(array)
    image = image.astype({"bool": "u1", "float16": "f4"}.get(image.dtype.name, image.dtype), copy=False)
    if image.ndim != 3 or image.dtype.newbyteorder("=") not in CODES or not 0 < max(image.shape) <= MOST:
        raise BadInput(f"NIfTI holds volumes (x, y, z) of numbers, not {image.dtype} of shape {image.shape}.")
    matrix = np.array(affine, np.float64)
    matrix[:3, 3] += matrix[:3, :3] @ np.asarray(start, np.float64)
    data = _header(image, matrix) + image.astype(image.dtype.newbyteorder("<")).tobytes("F")
    if path is not None:
        Path(path).write_bytes(gzip.compress(data, 6, mtime=0) if str(path).endswith(".gz") else data)
    return data


def _header(image: Any, matrix: Any) -> bytes:
    """Of one little-endian file: sform alone says where it lies, in scanner coordinates and mm."""
    header = bytearray(HEAD)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *image.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, CODES[image.dtype.newbyteorder("=")], image.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, 1, *np.linalg.norm(matrix[:3, :3], axis=0), 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, HEAD, 1, 0)
    header[123] = 2
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *matrix[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header)

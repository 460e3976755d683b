"""Volumes as `.npz`: `image` (x, y, z), optional `spacing` (z, y, x) in mm, `RescaleSlope`, `RescaleIntercept`.

This is what preprocessing scripts around CT-RATE leave behind. Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from imgassets.errors import BadInput
from imgassets.foreign import HEAD, foreign
from imgassets.volumes.volume import LIMIT, Volume


@dataclass(frozen=True, eq=False)
class NpzVolume:
    """The volume, and the slope and intercept that stand beside it (not applied to it)."""

    volume: Volume
    rescale: tuple[float, float] | None


def read_npz(path: Path, limit: int = LIMIT) -> NpzVolume:
    """Read one volume of at most `limit` bytes; raises BadInput naming the file."""
    try:
        with path.open("rb") as file:
            return read_npz_stream(file, limit)
    except Exception as error:  # numpy, zipfile and zlib raise nearly anything
        raise BadInput(f"{path.name} cannot be read: {error}.") from error


def read_npz_stream(file: IO[bytes], limit: int = LIMIT) -> NpzVolume:
    """Read one volume from an open, seekable file; raises ValueError and what zipfile raises, naming no file."""
    head = file.read(HEAD)
    if head[:2] != b"PK" and (what := foreign(head)):
        raise ValueError(f"it {what}")
    with zipfile.ZipFile(file) as archive:
        declared = sum(member.file_size for member in archive.infolist())
        if declared > limit:
            raise ValueError(f"it declares {declared:,} bytes, the limit is {limit:,}")
        members = set(archive.namelist())
    if "image.npy" not in members:
        raise ValueError(f"it has no array named image, only {sorted(members)[:5]}")
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        image = arrays["image"]
        spacing = tuple(float(v) for v in np.ravel(arrays["spacing"])[::-1]) if "spacing.npy" in members else None
        rescale = None
        if {"RescaleSlope.npy", "RescaleIntercept.npy"} <= members:
            rescale = float(arrays["RescaleSlope"]), float(arrays["RescaleIntercept"])
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"image is not 3-D: shape {image.shape}")
    if image.dtype.kind not in "iuf" or image.dtype.itemsize > 8 or image.dtype.str[1:] in ("i8", "u8"):
        raise ValueError(
            f"image has dtype {image.dtype}, expected float16, float32, float64 or integers of up to 32 bits"
        )
    if spacing is not None and not (len(spacing) == 3 and all(math.isfinite(s) and s > 0 for s in spacing)):
        raise ValueError(f"spacing is {spacing[::-1]}, not three positive numbers")
    voxels = np.ascontiguousarray(image.transpose(2, 1, 0), dtype=image.dtype.newbyteorder("="))
    return NpzVolume(Volume(voxels, 1.0, 0.0, spacing), rescale)

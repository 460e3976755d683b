"""NIfTI-1 (`.nii`, `.nii.gz`), read straight into one array.

Field offsets and datatype codes are those of nifti1.h (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h).
The gzip stream is inflated piece by piece into an array of exactly the size the header declares, so a lying header or a
bomb costs no memory, and a stream without its trailer is never taken for a whole one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from isal import igzip_lib

from imgassets.errors import BadInput
from imgassets.foreign import HEAD, foreign
from imgassets.volumes.volume import LIMIT, Volume

HEADER = 348
IN, OUT = 1 << 18, 1 << 20
"""Compressed and inflated bytes per step: both stay in the cache, and steps this long cost nothing measurable."""
SLACK = 1 << 20
"""Bytes tolerated after the voxels (extensions, padding)."""
DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


@dataclass(frozen=True)
class Header:
    """What the 348 bytes say: shape (x, y, z), dtype with byte order, offset of the voxels, scaling, spacing in mm."""

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    spacing: tuple[float, float, float]

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_header(raw: bytes) -> Header:
    """The header of a single-file NIfTI-1 volume.

    Raises ValueError with a reason that needs no file name: not NIfTI, not 3-D, impossible sizes, spacing or scaling.
    """
    if len(raw) < HEADER:
        raise ValueError(f"not NIfTI: {len(raw)} bytes, a header has {HEADER}")
    order = next((o for o in "<>" if struct.unpack_from(o + "i", raw)[0] == HEADER), None)
    if order is None:
        raise ValueError("not NIfTI-1: the first number is not 348")
    if raw[344:348] != b"n+1\0":
        raise ValueError(f"not a single-file NIfTI-1 volume: magic {raw[344:348]!r}, expected b'n+1\\x00'")
    ndim, *dims = struct.unpack_from(order + "8h", raw, 40)
    if not 1 <= ndim <= 7:
        raise ValueError(f"header declares {ndim} dimensions")
    dims = dims[:ndim]
    if any(n < 1 for n in dims):
        raise ValueError(f"header declares the impossible shape {tuple(dims)}")
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) != 3:
        raise ValueError(f"not 3-D: shape {tuple(dims)}")
    code = struct.unpack_from(order + "h", raw, 70)[0]
    if code not in DTYPES:
        raise ValueError(f"datatype {code} is not one of {sorted(DTYPES)}")
    spacing = struct.unpack_from(order + "3f", raw, 80)
    offset, slope, intercept = struct.unpack_from(order + "3f", raw, 108)
    if not all(math.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(f"spacing in the header is {spacing}, not three positive numbers")
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ValueError(f"scl_slope {slope}, scl_inter {intercept} in the header are not finite")
    if not math.isfinite(offset) or offset < HEADER or offset > SLACK:
        raise ValueError(f"vox_offset {offset} in the header is impossible")
    if slope == 0:  # nifti1.h: "if scl_slope is 0, the data are not scaled"
        slope, intercept = 1.0, 0.0
    x, y, z = dims
    return Header((x, y, z), np.dtype(order + DTYPES[code]), int(offset), slope, intercept, spacing)


def read_nifti(path: Path, limit: int = LIMIT) -> Volume:
    """Read one volume of at most `limit` bytes.

    Raises BadInput naming the file when it is not one whole, plain, 3-D NIfTI-1 volume.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return read_stream(file, limit)
    except (ValueError, OSError) as error:
        raise BadInput(f"{path.name} cannot be read: {error}.") from error


def read_stream(file: IO[bytes], limit: int = LIMIT) -> Volume:
    """Read one volume from an open file, gzipped or not; raises ValueError with a reason that names no file."""
    start = file.read(IN)
    pieces = inflate(start, file) if start[:2] == b"\x1f\x8b" else plain(start, file)
    head = b""
    while len(head) < HEADER and (piece := next(pieces, None)):
        head += piece
    if what := foreign(head[:HEAD]):
        raise ValueError(f"it {what}")
    header = parse_header(head)
    if header.nbytes > limit:
        raise ValueError(f"the header declares {header.nbytes:,} bytes of voxels, the limit is {limit:,}")
    end = header.offset + header.nbytes
    whole = np.empty(end, np.uint8)
    filled = extra = 0
    for piece in chain([head], pieces):
        n = min(len(piece), end - filled)
        whole[filled : filled + n] = np.frombuffer(piece, np.uint8, n)
        filled += n
        extra += len(piece) - n
        if extra > SLACK:
            raise ValueError(f"it goes on past the {end:,} bytes its header declares")
    if filled < end:
        raise ValueError(f"it ends after {filled:,} bytes, its header declares {end:,}")
    x, y, z = header.shape
    voxels = np.ndarray((z, y, x), header.dtype, whole.data, header.offset)
    native = header.dtype.newbyteorder("=")
    return Volume(voxels.astype(native, copy=False), header.slope, header.intercept, header.spacing)


def plain(data: bytes, file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of an uncompressed file of which `data` has been read."""
    while data:
        yield data
        data = file.read(OUT)


def inflate(data: bytes, file: IO[bytes]) -> Iterator[bytes]:
    """The inflated bytes of all gzip members of a file of which `data` has been read.

    Raises ValueError when a member is damaged (its checksum and length are compared) or does not reach its end.
    """
    while data:
        member = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        while not member.eof:
            try:
                piece = member.decompress(data, OUT)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # the stub says instance, it is a class
                raise ValueError(f"damaged gzip data ({error})") from error
            if piece:
                yield piece
            if not member.eof:
                data = file.read(IN) if member.needs_input else b""
                if member.needs_input and not data:
                    raise ValueError("the gzip data stops before its end")
        data = (member.unused_data or file.read(IN)).lstrip(b"\0")  # padding between or after members is allowed

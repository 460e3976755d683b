"""NIfTI-1 and -2 (`.nii`, `.nii.gz`), read straight into one array.

Field offsets and datatype codes are those of nifti1.h (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h) and
nifti2.h (https://nifti.nimh.nih.gov/pub/dist/doc/nifti2.h).
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
from typing import IO, Any

import numpy as np
from isal import igzip_lib

from imgassets.errors import BadInput
from imgassets.foreign import HEAD, foreign
from imgassets.volumes.volume import LIMIT, Volume

HEADER, HEADER_2 = 348, 540
IN, OUT = 1 << 18, 1 << 20
"""Compressed and inflated bytes per step: both stay in the cache, and steps this long cost nothing measurable."""
GZIP = b"\x1f\x8b"
FLAT = 1e-3
"""Volume of a box of unit edges along the stored axes below which an affine is none: axes that lie in one plane."""
SLACK = 1 << 20
"""Bytes tolerated after the voxels (extensions, padding)."""
DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
FIELDS_1 = {
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl": (112, "2f"),
    "codes": (252, "2h"),
    "quaternion": (256, "3f"),
    "offset": (268, "3f"),
    "rows": (280, "12f"),
}
FIELDS_2 = {
    "dim": (16, "8q"),
    "datatype": (12, "h"),
    "pixdim": (104, "8d"),
    "vox_offset": (168, "q"),
    "scl": (176, "2d"),
    "codes": (344, "2i"),
    "quaternion": (352, "3d"),
    "offset": (376, "3d"),
    "rows": (400, "12d"),
}
"""Where a header has what, and in which numbers; `codes` are those of qform and sform."""


@dataclass(frozen=True)
class Header:
    """What the 348 or 540 bytes say: shape (x, y, z), dtype with byte order, offset of the voxels, scaling, spacing in
    mm, and the affine (4, 4) of the sform, else of the qform; None where there is none.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    spacing: tuple[float, float, float]
    affine: np.ndarray[Any, np.dtype[np.float64]] | None

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_header(raw: bytes) -> Header:
    """The header of a single-file NIfTI volume.

    Raises ValueError with a reason that needs no file name: not NIfTI, not 3-D, impossible sizes, spacing or scaling.
    """
    order, fields = _kind(raw)
    found = {name: struct.unpack_from(order + kinds, raw, at) for name, (at, kinds) in fields.items()}
    shape = _shape(*found["dim"])
    (code,), (offset,), spacing = found["datatype"], found["vox_offset"], found["pixdim"][1:4]
    slope, intercept = found["scl"]
    if code not in DTYPES:
        raise ValueError(f"datatype {code} is not one of {sorted(DTYPES)}")
    if not all(math.isfinite(s) and s > 0 for s in spacing):
        raise ValueError(f"spacing in the header is {spacing}, not three positive numbers")
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ValueError(f"scl_slope {slope}, scl_inter {intercept} in the header are not finite")
    if not math.isfinite(offset) or offset < HEADER or offset > SLACK:
        raise ValueError(f"vox_offset {offset} in the header is impossible")
    if slope == 0:  # nifti1.h: "if scl_slope is 0, the data are not scaled"
        slope, intercept = 1.0, 0.0
    return Header(shape, np.dtype(order + DTYPES[code]), int(offset), slope, intercept, spacing, _affine(found))


def _kind(raw: bytes) -> tuple[str, dict[str, tuple[int, str]]]:
    """Byte order and fields."""
    if len(raw) < HEADER:
        raise ValueError(f"not NIfTI: {len(raw)} bytes, a header has {HEADER}")
    sizes = {struct.unpack_from(order + "i", raw)[0]: order for order in "<>"}
    if HEADER in sizes:
        if raw[344:348] != b"n+1\0":
            raise ValueError(f"not a single-file NIfTI-1 volume: magic {raw[344:348]!r}, expected b'n+1\\x00'")
        return sizes[HEADER], FIELDS_1
    if HEADER_2 not in sizes:
        raise ValueError(f"not NIfTI-1 or -2: the first number is neither {HEADER} nor {HEADER_2}")
    if raw[4:8] != b"n+2\0" or len(raw) < HEADER_2:
        raise ValueError(f"not a single-file NIfTI-2 volume: {len(raw)} bytes, magic {raw[4:8]!r}")
    return sizes[HEADER_2], FIELDS_2


def _shape(ndim: int, *sizes: int) -> tuple[int, int, int]:
    if not 1 <= ndim <= 7:
        raise ValueError(f"header declares {ndim} dimensions")
    dims = list(sizes[:ndim])
    if any(n < 1 for n in dims):
        raise ValueError(f"header declares the impossible shape {tuple(dims)}")
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) != 3:
        raise ValueError(f"not 3-D: shape {tuple(dims)}")
    return dims[0], dims[1], dims[2]


def _affine(found: dict[str, tuple[Any, ...]]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Of the sform, else of the qform (nifti1.h, methods 3 and 2); None where neither is, or it is no affine."""
    qform, sform = found["codes"]
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = np.reshape(found["rows"], (3, 4))
    elif qform > 0:
        factor = -1.0 if found["pixdim"][0] < 0 else 1.0
        affine[:3, :3] = _rotation(*found["quaternion"]) * found["pixdim"][1:4] * (1, 1, factor)
        affine[:3, 3] = found["offset"]
    else:
        return None
    sound = np.isfinite(affine).all() and all(np.linalg.norm(affine[:3, :3], axis=0) > 0)
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) if sound else np.zeros((3, 3))
    return affine if abs(np.linalg.det(unit)) > FLAT else None


def _rotation(b: float, c: float, d: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    a = math.sqrt(max(0.0, 1 - (b * b + c * c + d * d)))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def read_header(path: Path) -> Header:
    """The header alone, of a file of which little more is read.

    Raises BadInput naming the file where it is no NIfTI volume.
    """
    try:
        with path.open("rb", buffering=0) as file:
            start = file.read(IN)
            return parse_header(_head(inflate(start, file) if start[:2] == GZIP else plain(start, file))[0])
    except (ValueError, OSError) as error:
        raise BadInput(f"{path.name} cannot be read: {error}.") from error


def _head(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The beginning of a file, which has its header, and the pieces that follow."""
    head = b""
    while len(head) < HEADER_2 and (piece := next(pieces, None)):
        head += piece
    if what := foreign(head[:HEAD]):
        raise ValueError(f"it {what}")
    return head, pieces


def read_nifti(path: Path, limit: int = LIMIT) -> Volume:
    """Read one volume of at most `limit` bytes.

    Raises BadInput naming the file when it is not one whole, plain, 3-D NIfTI volume.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return read_stream(file, limit)
    except (ValueError, OSError) as error:
        raise BadInput(f"{path.name} cannot be read: {error}.") from error


def read_stream(file: IO[bytes], limit: int = LIMIT) -> Volume:
    """Read one volume from an open file, gzipped or not; raises ValueError with a reason that names no file."""
    start = file.read(IN)
    head, pieces = _head(inflate(start, file) if start[:2] == GZIP else plain(start, file))
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
    return Volume(voxels.astype(native, copy=False), header.slope, header.intercept, header.spacing, header.affine)


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

"""A zip writer that lies on request: whatever zipfile refuses to write, a damaged or forged file may hold."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)  # only to write the pickles that readers must refuse
    return file.getvalue()


def npy_header(shape: str, descr: str = "'|u1'", fortran_order: bool = False, version: int = 1) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


@dataclass
class Part:
    """One member; `local` and `central` overwrite fields of the two headers with something else."""

    name: str | bytes
    content: bytes
    deflated: bool = False
    extra: bytes = b""
    central_extra: bytes = b""
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    packed: bytes | None = None


def zip_bytes(parts: list[Part], *, prefix: bytes = b"", suffix: bytes = b"", comment: bytes = b"") -> bytes:
    out, directory = bytearray(prefix), bytearray()
    for part in parts:
        packed = part.packed
        if packed is None:
            deflate = zlib.compressobj(wbits=-15)
            packed = deflate.compress(part.content) + deflate.flush() if part.deflated else part.content
        true = {
            "name": part.name if isinstance(part.name, bytes) else part.name.encode(),
            "flags": 0,
            "method": 8 if part.deflated else 0,
            "crc": zlib.crc32(part.content),
            "packed": len(packed),
            "size": len(part.content),
            "offset": len(out),
        }
        here, there = true | part.local, true | part.central
        out += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, here["flags"], here["method"], 0, 33, here["crc"], here["packed"], here["size"],
            len(here["name"]), len(part.extra),
        )  # fmt: skip
        out += here["name"] + part.extra + packed
        directory += struct.pack(
            "<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, there["flags"], there["method"], 0, 33, there["crc"],
            there["packed"], there["size"], len(there["name"]), len(part.central_extra), 0, 0, 0, 0, there["offset"],
        )  # fmt: skip
        directory += there["name"] + part.central_extra
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(parts), len(parts), len(directory), len(out), len(comment))
    return bytes(out + directory + end + comment + suffix)


def batch_parts(rows: int = 4, resolution: int = 16, *, deflated: bool = False, seed: int = 0) -> dict[str, Part]:
    """The three members of a sound batch."""
    rng = np.random.default_rng(seed)
    width = 3 * resolution**2
    arrays = {
        "data": rng.integers(0, 256, (rows, width), dtype=np.uint8),
        "labels": rng.integers(1, 1001, rows),
        "mean": rng.random(width) * 255,
    }
    return {name: Part(f"{name}.npy", npy(array), deflated) for name, array in arrays.items()}


def write(path: Path, parts: dict[str, Part] | list[Part], **more: bytes) -> Path:
    path.write_bytes(zip_bytes(list(parts.values()) if isinstance(parts, dict) else parts, **more))
    return path

"""PNG images in one tar: `sample_000042.png` for the sample of that global index, in the order they are added.

A million small files are slow to make and to copy; one tar is neither, and `tar -xf` makes files of it.
"""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import StoreError
from imgassets.formats.ustar import END, header, padding
from imgassets.images.header import BadImage
from imgassets.images.pixels import decode

if TYPE_CHECKING:
    from imgassets.commit import Sink

SUB = 1
"""PNG's filter that stores each byte's difference to the pixel before: the cheapest that helps."""


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB -> PNG, all rows with the Sub filter, deflated at level 1 (RFC 2083)."""
    height, width, channels = image.shape
    if image.dtype != np.uint8 or channels != 3:
        raise ValueError(f"uint8 (H, W, 3) is needed, got {image.dtype} {image.shape}")
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = SUB
    rows[:, 1:4] = image[:, 0]
    np.subtract(image[:, 1:], image[:, :-1], out=rows[:, 4:].reshape(height, width - 1, 3))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def png_name(index: int) -> str:
    """File name of a sample's image."""
    return f"sample_{index:06d}.png"


class PngTar:
    """Writes a tar of PNG images into a sink; `close` ends the archive."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def add(self, index: int, image: NDArray[np.uint8]) -> None:
        """Append the (H, W, 3) uint8 image of the sample with this global index."""
        data = encode_png(image)
        self._sink.writev((header(png_name(index), len(data)), data, padding(len(data))))

    def close(self) -> None:
        """Write the two empty blocks that end a tar."""
        self._sink.write(END)


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(member name, PNG) of every image of a tar, in order; StoreError where it is damaged."""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name, file.read()
    except (tarfile.TarError, OSError, ValueError, KeyError) as error:
        raise StoreError(f"{path} is damaged ({error}): materialize it again.") from error


def read_pngs(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(member name, (H, W, 3) uint8) of every image of a tar, in order; StoreError where it is damaged."""
    for name, data in read_members(path):
        try:
            yield name, decode(data)
        except BadImage as error:
            raise StoreError(f"{path}: {name} {error}; materialize it again.") from error

"""The segments of a JPEG, and what its frame header says.

Marker codes and segment layout are those of ITU-T T.81 (JPEG), annex B; the colour transform flag is Adobe's APP14
segment, the orientation that of Exif 2.3 in APP1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from imgassets.images.header import BadImage, ImageHeader

START, END, SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


class Segment(NamedTuple):
    """A marker and its content, `data[start:end]`, which may reach beyond the end of the data."""

    marker: int
    start: int
    end: int
    follows: bool
    """Whether it begins right where the one before it ends."""


def segments(data: bytes | memoryview) -> Iterator[Segment]:
    """The segments up to the first scan or the end marker, with that; stray bytes are passed over, as decoders do."""
    at, expected, size = len(START), len(START), len(data)
    while True:
        while at < size and data[at] != 0xFF:
            at += 1
        while at < size and data[at] == 0xFF:
            at += 1
        if at + 3 > size:
            return
        marker, at = data[at], at + 1
        if marker in _STANDALONE:
            continue
        end = at + max(2, int.from_bytes(data[at : at + 2], "big"))
        yield Segment(marker, at + 2, end, at == expected + 2)
        if marker in {END[1], SCAN}:
            return
        at = expected = end


def jpeg_header(data: bytes | memoryview) -> ImageHeader:
    """What the segments up to the frame header say.

    Raises:
        BadImage: there is no frame header, or it is not of 8 bits and 1, 3 or 4 components.
    """
    adobe, orientation = False, 1
    for marker, start, end, _ in segments(data):
        if marker in {END[1], SCAN}:
            raise BadImage("has no frame header before its image data")
        if marker in _FRAMES:
            return _frame(bytes(data[start : min(end, start + 6)]), adobe, orientation)
        if marker == 0xE1 and bytes(data[start : start + 6]) == b"Exif\0\0":
            orientation = _orientation(data[start + 6 : end])
        adobe |= marker == 0xEE and bytes(data[start : start + 5]) == b"Adobe"
    raise BadImage("ends before its frame header")


def _frame(segment: bytes, adobe: bool, orientation: int) -> ImageHeader:
    if len(segment) < 6:
        raise BadImage("ends inside its frame header")
    precision, components = segment[0], segment[5]
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    if precision != 8 or components not in _MODES:
        raise BadImage(f"has {components} components of {precision} bits, expected 1, 3 or 4 of 8 bits")
    return ImageHeader("jpg", width, height, _MODES[components], orientation, inverted=adobe and components == 4)


def _orientation(tiff: bytes | memoryview) -> int:
    order: Literal["little", "big"] | None = {b"II": "little", b"MM": "big"}.get(bytes(tiff[:2]))  # type: ignore[assignment]
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    entries = number(4, 4)
    for k in range(min(number(entries, 2), 512)):
        entry = entries + 2 + 12 * k
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1

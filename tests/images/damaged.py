"""Image files that something happened to, in as many ways as we know, and what is right for each."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from PIL import Image

from tests.pictures import encode, jpeg, picture

SOUND = "sound"
"""Verdict on what is only unusual."""
DAMAGED = "damaged"
"""Verdict on what is kept, counted and listed."""

File = tuple[bytes, str]


def exif(orientation: int) -> bytes:
    """An EXIF segment."""
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def scan(data: bytes) -> int:
    """Where the image data of a JPEG begin, about."""
    return data.index(b"\xff\xda") + 14


def zeroed(data: bytes, start: float, stop: float) -> bytes:
    """A file with zeros for a part of it."""
    a, b = int(len(data) * start), int(len(data) * stop)
    return data[:a] + bytes(b - a) + data[b:]


def noise(data: bytes, start: float, count: int) -> bytes:
    """A file with other bytes in a part of it, none of them 0xff."""
    a = int(len(data) * start)
    return data[:a] + bytes(random.Random(0).choices(range(255), k=count)) + data[a + count :]


def patched(data: bytes, marker: bytes, offset: int, new: bytes) -> bytes:
    """A file with some bytes behind a marker replaced."""
    at = data.index(marker) + offset
    return data[:at] + new + data[at + len(new) :]


@cache
def corpus() -> dict[str, File]:
    """Name -> bytes and verdict: `SOUND`, `DAMAGED`, or a part of the reason why it is refused."""
    whole, gray, cmyk = jpeg(1, 120, 160, quality=90), jpeg(2, 120, 160, "L"), jpeg(3, 120, 160, "CMYK")
    progressive = jpeg(4, 120, 160, progressive=True)
    restarts = jpeg(5, 120, 160, restart_marker_blocks=3)
    png, gif, bmp = (encode(picture(6, 40, 50), kind) for kind in ("PNG", "GIF", "BMP"))
    pair = jpeg(8, 40, 40, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0" + jpeg(8, 8, 8))
    cut, end = "is cut", b"\xff\xd9"
    kinds: dict[str, Any] = {"usual": whole, "gray": gray, "cmyk": cmyk, "progressive": progressive, "rst": restarts}
    files: dict[str, File] = {f"{name}.jpg": (data, SOUND) for name, data in kinds.items()}
    for name, data in kinds.items():
        files |= {
            f"{name}-half.jpg": (data[: len(data) // 2], cut),
            f"{name}-last-bytes.jpg": (data[:-2], cut),
            f"{name}-zero-tail.jpg": (zeroed(data, 0.6, 1), cut),
            f"{name}-long-zero-tail.jpg": (data[: len(data) * 2 // 3] + bytes(50_000), cut),
            f"{name}-rubbish-behind.jpg": (data + b"rubbish" * 1000, SOUND),
            f"{name}-header-only.jpg": (data[: scan(data)], cut),
        }
    for name, data in {"usual": whole, "gray": gray, "cmyk": cmyk, "rst": restarts}.items():
        files |= {
            f"{name}-half-with-end.jpg": (data[: len(data) // 2] + end, DAMAGED),
            f"{name}-zeros-inside.jpg": (zeroed(data, 0.5, 0.7), DAMAGED),
            f"{name}-noise-inside.jpg": (noise(data, 0.5, 200), DAMAGED),
            f"{name}-noise-and-rubbish.jpg": (noise(data, 0.5, 200) + bytes(9000), DAMAGED),
        }
    return (
        files
        | {
            "progressive-noise.jpg": (noise(progressive, 0.5, 200), DAMAGED),
            "junk-between.jpg": (whole[:20] + b"junk" + whole[20:], DAMAGED),
            "thumbnail.jpg": (pair, SOUND),
            "thumbnail-half.jpg": (pair[: len(pair) * 2 // 3], cut),
            "thumbnail-zero-tail.jpg": (zeroed(pair, 0.7, 1), cut),
            "turned.jpg": (jpeg(7, exif=exif(6)), SOUND),
            "empty.jpg": (b"", "is empty"),
            "text.jpg": (b"<html>404 Not Found</html>", "is no image: it is a web page"),
            "zeros.jpg": (bytes(5000), "is no image"),
            "two-bytes.jpg": (whole[:2], "ends before its frame header"),
            "before-frame.jpg": (whole[:40], "ends before its frame header"),
            "in-frame.jpg": (whole[: whole.index(b"\xff\xc0") + 6], "ends inside its frame header"),
            "huge.jpg": (
                patched(whole, b"\xff\xc0", 5, b"\xff\xff\xff\xff"),
                "pixels, more than the 134217728 allowed",
            ),
            "flat.jpg": (patched(whole, b"\xff\xc0", 5, b"\0\0"), "declares 160 x 0 pixels"),
            "taller.jpg": (patched(whole, b"\xff\xc0", 5, b"\1\0"), DAMAGED),
            "12-bit.jpg": (patched(whole, b"\xff\xc0", 4, b"\x0c"), "components of 12 bits"),
            "without-tables.jpg": (whole.replace(b"\xff\xc4", b"\xff\xec"), SOUND),  # as cameras' films have them
            "without-scan.jpg": (whole[: scan(whole) - 14] + end, cut),
            "arithmetic.jpg": (patched(whole, b"\xff\xc0", 1, b"\xc9"), DAMAGED),  # says so, but is Huffman coded
            "lossless.jpg": (patched(whole, b"\xff\xc0", 1, b"\xc3"), "cannot be decoded"),
            "sound.png": (png, SOUND),
            "half.png": (png[: len(png) // 2], cut),
            "last-bytes.png": (png[:-4], cut),
            "header.png": (png[:20], "cannot be decoded"),
            "checksum.png": (png[:-14] + bytes([png[-14] ^ 1]) + png[-13:], DAMAGED),
            "noise.png": (noise(png, 0.5, 50), "cannot be decoded"),
            "sound.gif": (gif, SOUND),
            "half.gif": (gif[: len(gif) // 2], cut),
            "last-byte.gif": (gif[:-1], cut),
            "sound.bmp": (bmp, SOUND),
            "half.bmp": (bmp[: len(bmp) // 2], "cannot be decoded"),
            "rubbish-behind.png": (png + b"rubbish", SOUND),
            "rubbish-behind.gif": (gif + b"rubbish", SOUND),
        }
    )

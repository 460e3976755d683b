"""The one judge of an image file: what it is, whether it is whole, and what is wrong with it though it decodes.

What is cut or cannot be decoded is refused, whoever asks. What a decoder gets over with a complaint is accepted, with
the complaint in `ImageHeader.warning`.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING
from zlib import crc32

import simplejpeg

from imgassets.foreign import HEAD as FOREIGN
from imgassets.foreign import foreign
from imgassets.images import jpeg_scan
from imgassets.images.header import MAX_PIXELS, BadImage, ImageHeader
from imgassets.images.jpeg import END, SCAN, START, jpeg_header, segments
from imgassets.images.sniff import HEAD, extension, image_kind

if TYPE_CHECKING:
    from PIL import Image

MANY = 4000
"""Images from which on walks save more time than it takes to make their machine code."""
PROGRAMS = {"EPS"}
"""Formats of Pillow's that are run, not read."""
PLUG_INS = {
    "heic": ("pillow_heif", "pillow-heif"),
    "jxl": ("pillow_jxl", "pillow-jxl-plugin"),
    "avif": ("pillow_avif", "pillow-avif-plugin"),
}
"""Module and package that Pillow needs for a kind it may not read by itself."""
UNREAD = {"tif": ", or has pixels that Pillow does not read (fractions of 16 or 64 bits, or of colours)"}
"""What else may be the matter with a header of a kind."""
BITS, FORMAT, SIGNED = 258, 339, 2
"""Tags of TIFF 6.0: BitsPerSample, SampleFormat, and the latter's value for two's complement."""


def read_header(data: bytes) -> ImageHeader:
    """What the header of an image file says; of kinds but JPEG also whether their end is there.

    Raises:
        BadImage: it is empty, no image, of a kind nobody decodes, or has more than `MAX_PIXELS`.
    """
    if data[:2] == START:
        return jpeg_header(data).within(MAX_PIXELS)
    with opened(data) as image:
        return header_of(image, data)


def inspect(data: bytes, walk: bool = True) -> ImageHeader:
    """Look at all of an image file, and return its header.

    Most JPEGs are proven whole by a walk over their Huffman codes. Any other is decoded at an eighth of its size, which
    reads every coefficient of every scan and so finds what a full decode finds. Other kinds are decoded. The verdict is
    the same without the `walk`, which pays where `MANY` images are judged.

    Raises:
        BadImage: see `read_header`; or it is cut, or no decoder can read it.
    """
    if data[:2] == START:
        header = read_header(data)
        return header if walk and jpeg_scan.is_whole(data) else _decoded(data, header)
    with opened(data) as image:
        header = header_of(image, data)
        image.load()
    return header


@contextmanager
def opened(data: bytes | memoryview) -> Iterator[Image.Image]:
    """An image file as Pillow has it, whose errors become BadImage."""
    from PIL import Image, UnidentifiedImageError

    if not len(data):
        raise BadImage("is empty")
    newer = image_kind(bytes(data[:HEAD]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _plug_in(newer)
        try:
            with Image.open(BytesIO(data)) as image:
                if image.format in PROGRAMS:
                    raise BadImage(f"is no image but a program ({image.format})")
                yield image
        except BadImage:
            raise
        except UnidentifiedImageError:
            kind = extension(data)
            if newer and kind == "bin":
                needed = f"without the plug-in {PLUG_INS[newer][1]}" if newer in PLUG_INS else "by Pillow as installed"
                raise BadImage(f"is {newer.upper()}, damaged or not readable {needed}") from None
            damaged = f"has a damaged header, and begins as a {kind} file{UNREAD.get(kind, '')}"
            told = foreign(bytes(data[:FOREIGN])) or f"begins with {bytes(data[:12])!r}"
            raise BadImage(f"is no image: it {told}" if kind == "bin" else damaged) from None
        except (MemoryError, Image.DecompressionBombError):
            raise BadImage(f"declares more pixels than the {MAX_PIXELS} allowed, or than fit into memory") from None
        except Exception as error:
            raise BadImage(f"cannot be decoded: {error}") from None


@cache
def _plug_in(kind: str) -> None:
    """Have Pillow read a kind, where the plug-in for it is installed."""
    if kind in PLUG_INS and importlib.util.find_spec(PLUG_INS[kind][0]):
        module = importlib.import_module(PLUG_INS[kind][0])
        getattr(module, "register_heif_opener", lambda: None)()


def header_of(image: Image.Image, data: bytes) -> ImageHeader:
    """The header of an opened image that is no JPEG; BadImage if it is too large, or cut, if behind its last pixel, or
    of values that decoders take for others."""
    ImageHeader("", image.width, image.height, image.mode).within(MAX_PIXELS)  # before anything is decoded
    tags = getattr(image, "tag_v2", {})
    if SIGNED in tags.get(FORMAT, ()) and max(tags.get(BITS, (1,))) <= 8:
        raise BadImage("has signed values of 8 bits, which decoders take for 0 to 255: convert it first")
    kind, warning, deep = extension(data), None, _is_deep(image)  # before anything is loaded, as EXIF of a PNG does
    try:
        if kind == "png":
            warning = _wrong_chunk(data)
        elif kind == "gif":
            _walk_gif(data)
    except IndexError:
        raise BadImage("is cut: it ends before its end mark") from None
    frames, orientation = getattr(image, "n_frames", 1), image.getexif().get(0x0112, 1)
    lossy = "jpeg" in str(image.info.get("compression", ""))
    return ImageHeader(kind, image.width, image.height, image.mode, orientation, frames, False, warning, deep, lossy)


def _is_deep(image: Image.Image) -> bool:
    """Whether Pillow narrows colours of 16 bits while it decodes: it has no mode for them."""
    if image.mode.startswith(("I", "F")):
        return False
    layouts = [tile[3] for tile in getattr(image, "tile", ())]
    most = (layout[1] for layout in layouts if image.format == "PPM" and isinstance(layout, tuple))
    return any(";16" in str(layout) for layout in layouts) or max(most, default=0) > 255


def _decoded(data: bytes, header: ImageHeader) -> ImageHeader:
    """The verdict of a decoder that stops at trifles, or of another one on what those are."""
    colours = "CMYK" if header.mode == "CMYK" else "GRAY"
    try:
        simplejpeg.decode_jpeg(data, colours, fastdct=True, fastupsample=True, min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return _second_opinion(data, header, str(error))
    return header


def _second_opinion(data: bytes, header: ImageHeader, complaint: str) -> ImageHeader:
    """Whether a JPEG the strict decode stumbled over is whole all the same: some only have stray bytes, or a chroma
    subsampling that the fast decoder does not know."""
    scan = next((segment.end for segment in segments(data) if segment.marker == SCAN), len(data))
    if "Premature end" in complaint or data.find(END, scan) < 0:
        raise BadImage("is cut: its image data end before the end-of-image marker")
    with opened(data) as image:
        image.draft(None, (1, 1))
        image.load()
    return replace(header, warning=complaint) if "Corrupt" in complaint else header


def _wrong_chunk(data: bytes) -> str | None:
    """The first chunk of a PNG whose checksum is wrong; IndexError where the last chunk is not there."""
    at, wrong = 8, None
    while True:
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise IndexError(at)
        kind = data[at + 4 : at + 8]
        if crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            wrong = wrong or f"Corrupt PNG data: wrong checksum of a chunk {kind!r}"
        if kind == b"IEND":
            return wrong
        at = end


def _walk_gif(data: bytes) -> None:
    """Pass over the blocks of a GIF (GIF89a, 1990); IndexError where its trailer is not there."""

    def colours(flags: int) -> int:
        return 6 << (flags & 7) if flags & 0x80 else 0

    at = 13 + colours(data[10])
    while (kind := data[at]) != 0x3B:
        if kind not in b"\x21\x2c":  # decoders skip stray bytes
            at += 1
            continue
        at += 2 if kind == 0x21 else 11 + colours(data[at + 9])
        while data[at]:
            at += data[at] + 1
        at += 1

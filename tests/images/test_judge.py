"""Frame headers against Pillow, cut and strange images, conversions."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imgassets.images.header import MAX_PIXELS, BadImage, ImageHeader
from imgassets.images.judge import inspect, read_header
from imgassets.images.pixels import as_jpeg
from tests.pictures import decoded, encode, jpeg, picture

COLOURS = {"L": "gray", "RGB": "rgb", "CMYK": "cmyk"}
"""By Pillow's mode."""


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    mode=st.sampled_from(sorted(COLOURS)),
    progressive=st.booleans(),
    subsampling=st.sampled_from([0, 1, 2]),
    comment=st.sampled_from([None, b"x", bytes(5000)]),
)
def test_frames_agree_with_pillow(
    height: int, width: int, mode: str, progressive: bool, subsampling: int, comment: bytes | None
) -> None:
    options: dict[str, Any] = {"comment": comment} if comment else {}
    data = jpeg(1, height, width, mode, progressive=progressive, subsampling=subsampling, **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (width, height)
    header = ImageHeader("jpg", width, height, mode, inverted=mode == "CMYK")
    assert header.colour == COLOURS[mode]
    assert read_header(data) == header
    assert inspect(data) == header


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_cut_is_noticed(mode: str, progressive: bool) -> None:
    data = jpeg(2, 24, 40, mode, progressive=progressive, restart_marker_blocks=2)
    assert inspect(data)
    for cut in range(len(data)):
        with pytest.raises(BadImage):
            inspect(data[:cut])


@pytest.mark.parametrize("restarts", [0, 1])
def test_stray_bytes_and_padding_are_no_damage(restarts: int) -> None:
    data = jpeg(3, restart_marker_blocks=restarts)
    assert inspect(data + bytes(100)).warning is None
    start = data.index(b"\xff\xdb")
    assert read_header(data[:start] + b"\xff\xff\xff" + data[start:]) == read_header(data)
    assert inspect(data[:start] + b"\xff\xff\xff" + data[start:]).warning is None
    assert "extraneous bytes" in (inspect(data[:start] + b"junk" + data[start:]).warning or "")


def test_a_scan_that_decodes_with_complaints_is_kept_with_a_warning() -> None:
    data = jpeg(4, 200, 200)
    ended = data[: len(data) // 2] + b"\xff\xd9"
    assert "premature end of data segment" in (inspect(ended).warning or "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"<html>404</html>", "is no image: it is a web page"),
        (b"\xff\xd8", "ends before its frame header"),
        (b"\xff\xd8\xff\xd9\x00\x00", "has no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08", "ends inside its frame header"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x0c\x00\x10\x00\x10\x03" + bytes(9), "3 components of 12 bits"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x02" + bytes(9), "2 components of 8 bits"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x10\x03" + bytes(9), "declares 16 x 0 pixels"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x03" + bytes(9), f"more than the {MAX_PIXELS} allowed"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "cannot be decoded"),
    ],
)
def test_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage) as caught:
        inspect(data)
    assert reason in str(caught.value)


def png(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def palette(pixels: Any) -> Image.Image:
    return Image.fromarray(pixels).quantize(200, dither=Image.Dither.NONE)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (encode(picture(5), "PNG"), "png"),
        (encode(picture(5), "PNG", "RGBA"), "png"),
        (encode(picture(5), "PNG", "L"), "png"),
        (encode(picture(5), "PNG", "LA"), "png"),
        (encode(picture(5), "PNG", "1"), "png"),
        (png(palette(picture(5))), "png"),
        (png(palette(picture(5)), transparency=b"\x00\x80"), "png"),
        (encode(picture(5), "BMP"), "bmp"),
        (encode(picture(5), "GIF"), "gif"),
    ],
    ids=["rgb", "rgba", "l", "la", "1", "p", "p-transparent", "bmp", "gif"],
)
def test_other_formats_are_told_by_content_and_become_jpegs(data: bytes, kind: str) -> None:
    header = inspect(data)
    assert (header.kind, header.width, header.height, header.colour) == (kind, 64, 48, "rgb")
    assert not header.is_ordinary
    converted = as_jpeg(data)
    assert inspect(converted) == ImageHeader("jpg", 64, 48, "RGB")
    with Image.open(io.BytesIO(data)) as image:
        plain = np.asarray(image.convert("RGBA"))[..., :3]
    assert np.abs(decoded(converted).astype(int) - plain).mean() < 4


def test_sixteen_bits_become_their_upper_eight() -> None:
    values = (picture(6)[..., 0].astype(np.uint16) << 8) | 255
    data = png(values)
    assert inspect(data) == ImageHeader("png", 64, 48, "I;16")
    assert np.abs(decoded(as_jpeg(data)).astype(int)[..., 0] - (values >> 8)).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_every_cut_of_others_is_noticed(kind: str) -> None:
    whole = encode(picture(7, 16, 24), kind)
    assert inspect(whole + b"what lies behind the end").warning is None
    for cut in range(len(whole)):
        with pytest.raises(BadImage):
            inspect(whole[:cut])


def test_a_png_with_a_wrong_checksum_is_kept_with_a_warning() -> None:
    data = bytearray(encode(picture(7), "PNG"))
    data[-14] ^= 1  # in the checksum of the last chunk of pixels
    assert inspect(bytes(data)).warning == "Corrupt PNG data: wrong checksum of a chunk b'IDAT'"
    data[len(data) // 2] ^= 255
    with pytest.raises(BadImage, match="cannot be decoded"):
        inspect(bytes(data))


def test_bombs_and_programs_are_refused() -> None:
    whole = encode(picture(7), "PNG")
    for edge, text in ((12_000, f"declares 12000 x 12000 pixels, more than the {MAX_PIXELS}"), (60_000, "more pixels")):
        header = b"IHDR" + edge.to_bytes(4, "big") * 2 + whole[24:29]
        with pytest.raises(BadImage, match=text):
            inspect(whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:])
    with pytest.raises(BadImage, match="is no image but a program"):
        inspect(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")


@pytest.mark.parametrize("inverted", [True, False])
def test_cmyk_is_mixed_as_its_adobe_marker_says(inverted: bool) -> None:
    pixels = picture(8)
    ink = np.zeros((*pixels.shape[:2], 4), np.uint8)
    ink[..., :3] = 255 - pixels
    ink[..., 3] = 40
    buffer = io.BytesIO()
    Image.fromarray(ink, "CMYK").save(buffer, "JPEG", quality=98, subsampling=0)
    data = buffer.getvalue()  # Pillow inverts, and says so in an Adobe segment
    if not inverted:
        marker = data.index(b"\xff\xee")
        data = data[:marker] + data[marker + 2 + int.from_bytes(data[marker + 2 : marker + 4], "big") :]
    header = inspect(data)
    assert (header.colour, header.inverted, header.is_ordinary) == ("cmyk", inverted, False)
    light = (255 - ink if inverted else ink).astype(float)  # without the marker the same numbers mean the opposite
    assert np.abs(decoded(as_jpeg(data)) - light[..., :3] * light[..., 3:] / 255).mean() < 4


def test_conversions_are_reproducible() -> None:
    for data in (encode(picture(9), "PNG"), jpeg(9, mode="CMYK")):
        assert as_jpeg(data) == as_jpeg(data)
    with pytest.raises(BadImage, match="is cut"):
        as_jpeg(jpeg(9, mode="CMYK")[:700])

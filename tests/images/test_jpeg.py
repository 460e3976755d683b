"""Frame headers against Pillow, cut and strange images, conversions."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imgassets.images.jpeg import MAX_PIXELS, Damaged, Frame, as_jpeg, inspect, read_frame
from tests.pictures import decoded, encode, jpeg, picture

COLOURS = {"L": "gray", "RGB": "rgb", "CMYK": "cmyk"}


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
    frame = Frame(width, height, COLOURS[mode], inverted=mode == "CMYK")  # type: ignore[arg-type]
    assert read_frame(data) == frame
    assert inspect(data) == frame


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_cut_is_noticed(mode: str, progressive: bool) -> None:
    data = jpeg(2, 24, 40, mode, progressive=progressive, restart_marker_blocks=2)
    assert inspect(data)
    for cut in range(len(data)):
        with pytest.raises(Damaged):
            inspect(data[:cut])


@pytest.mark.parametrize("restarts", [0, 1])
def test_stray_bytes_and_padding_are_no_damage(restarts: int) -> None:
    data = jpeg(3, restart_marker_blocks=restarts)
    assert inspect(data + bytes(100)).warning is None
    start = data.index(b"\xff\xdb")
    assert read_frame(data[:start] + b"\xff\xff\xff" + data[start:]) == read_frame(data)
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
        (b"<html>404</html>", "is no JPEG, PNG, BMP or GIF: it begins with b'<html>404</h'"),
        (b"\xff\xd8", "ends before its frame header"),
        (b"\xff\xd8\xff\xd9\x00\x00", "has no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08", "ends inside its frame header"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x0c\x00\x10\x00\x10\x03" + bytes(9), "3 components of 12 bits"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x02" + bytes(9), "2 components of 8 bits"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x10\x03" + bytes(9), "declares 16 x 0 pixels"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x03" + bytes(9), f"more than the {MAX_PIXELS} allowed"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "is no JPEG, PNG, BMP or GIF"),
    ],
)
def test_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Damaged) as caught:
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
        (encode(picture(5), "PNG"), "PNG"),
        (encode(picture(5), "PNG", "RGBA"), "PNG"),
        (encode(picture(5), "PNG", "L"), "PNG"),
        (encode(picture(5), "PNG", "LA"), "PNG"),
        (encode(picture(5), "PNG", "1"), "PNG"),
        (png(palette(picture(5))), "PNG"),
        (png(palette(picture(5)), transparency=b"\x00\x80"), "PNG"),
        (encode(picture(5), "BMP"), "BMP"),
        (encode(picture(5), "GIF"), "GIF"),
    ],
    ids=["rgb", "rgba", "l", "la", "1", "p", "p-transparent", "bmp", "gif"],
)
def test_other_formats_are_told_by_content_and_become_jpegs(data: bytes, kind: str) -> None:
    frame = inspect(data)
    assert frame == Frame(64, 48, "rgb", kind)
    assert not frame.is_ordinary
    converted = as_jpeg(data)
    assert inspect(converted) == Frame(64, 48, "rgb")
    with Image.open(io.BytesIO(data)) as image:
        plain = np.asarray(image.convert("RGBA"))[..., :3]
    assert np.abs(decoded(converted).astype(int) - plain).mean() < 4


def test_sixteen_bits_become_their_upper_eight() -> None:
    values = (picture(6)[..., 0].astype(np.uint16) << 8) | 255
    data = png(values)
    assert inspect(data) == Frame(64, 48, "rgb", "PNG")
    assert np.abs(decoded(as_jpeg(data)).astype(int)[..., 0] - (values >> 8)).mean() < 2


def test_animated_and_damaged_others_are_refused() -> None:
    frames = [Image.fromarray(picture(i)) for i in range(2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(Damaged, match="is animated"):
        inspect(buffer.getvalue())
    whole = encode(picture(7), "PNG")
    for cut in range(len(whole) - 32):  # checksums and the end chunk come last
        with pytest.raises(Damaged):
            inspect(whole[:cut])
    header = whole[:16] + (1 << 30).to_bytes(4, "big") * 2 + whole[24:]
    with pytest.raises(Damaged):
        inspect(header)


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
    frame = inspect(data)
    assert (frame.colour, frame.inverted, frame.is_ordinary) == ("cmyk", inverted, False)
    light = (255 - ink if inverted else ink).astype(float)  # without the marker the same numbers mean the opposite
    assert np.abs(decoded(as_jpeg(data)) - light[..., :3] * light[..., 3:] / 255).mean() < 4


def test_conversions_are_reproducible() -> None:
    for data in (encode(picture(9), "PNG"), jpeg(9, mode="CMYK")):
        assert as_jpeg(data) == as_jpeg(data)
    with pytest.raises(Damaged, match="cannot be decoded"):
        as_jpeg(jpeg(9, mode="CMYK")[:700])

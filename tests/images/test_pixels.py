"""Decoding is Pillow's, to the pixel; resizing is Pillow's bicubic, nearly."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from imgassets.images.header import BadImage
from imgassets.images.judge import read_header
from imgassets.images.pixels import (
    MODES,
    decode,
    decode_label,
    encode,
    examine,
    inspect_label,
    nearest,
    resize,
    to_image,
)
from imgassets.testing.making import encoded, picture


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("stored", ["RGB", "L"])
@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
def test_jpeg_is_pillow_s(mode: str, stored: str, settings: dict[str, Any]) -> None:
    data = encoded(picture(3, 53, 67, stored), quality=85, **settings)
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert(mode)).reshape(53, 67, -1)
    np.testing.assert_array_equal(decode(data, mode), wanted)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP"])
def test_other_kinds(kind: str) -> None:
    data = encoded(picture(1, 12, 15), kind)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_cmyk() -> None:
    data = encoded(picture(1, 12, 15, "CMYK"))
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert read_header(data).notes == ("cmyk",)


def wide(values: Any, dtype: Any, kind: str = "TIFF") -> bytes:
    """An image of values wider than a byte."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(values, dtype).reshape(1, -1)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("values", "dtype", "seen"),
    [
        ([0.0, 0.5, 1.0], np.float32, [0, 128, 255]),
        ([0.0, 1.5, 255.0], np.float32, [0, 2, 255]),
        ([0, 7, 255], np.int32, [0, 7, 255]),
        ([0, 256, 65535], np.int32, [0, 1, 255]),
        ([0, 7, 255], np.uint16, [0, 0, 0]),
        ([0, 256, 65535], np.uint16, [0, 1, 255]),
    ],
)
def test_wide_values_are_shown_by_a_rule(values: list[float], dtype: Any, seen: list[int]) -> None:
    data = wide(values, dtype)
    assert decode(data, "L")[0, :, 0].tolist() == seen
    assert examine(data, "RGB")[1][0, :, 0].tolist() == seen
    assert {"16_bit", "fractions"} & set(examine(data)[0].notes)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([-1.0, 1.0], np.float32),
        ([0.0, 256.0], np.float32),
        ([0.0, np.nan], np.float32),
        ([0.0, np.inf], np.float32),
        ([-1, 5], np.int32),
        ([0, 65536], np.int32),
    ],
)
def test_values_of_no_known_range_are_refused(values: list[float], dtype: Any) -> None:
    with pytest.raises(BadImage, match="expected 0 to"):
        decode(wide(values, dtype), "RGB")
    assert decode(wide(values, dtype), "F" if dtype == np.float32 else "I").shape == (1, 2, 1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("WEBP", {}), ("JPEG2000", {"irreversible": True}), ("AVIF", {})],
)
def test_lossy_labels_are_refused(kind: str, options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(file, kind, **options)
    with pytest.raises(BadImage, match=r"which changes the labels .*: save them as PNG"):
        inspect_label(file.getvalue())


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG2000", {}), ("TIFF", {}), ("GIF", {})]
)
def test_lossless_labels_are_taken(kind: str, options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(file, kind, **options)
    assert inspect_label(file.getvalue()) == (16, 16)


def test_labels_in_a_tiff_of_jpegs_are_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(file, "TIFF", compression="jpeg")
    with pytest.raises(BadImage, match="is a TIFF compressed as JPEG, which changes the labels"):
        inspect_label(file.getvalue())
    assert read_header(file.getvalue()).notes == ("grayscale",)  # as an image it is as good as any JPEG


def test_bytes_with_a_sign_are_refused() -> None:
    """Pillow takes them for 0 to 255: -1 would be white."""
    for read in (read_header, examine, inspect_label):
        with pytest.raises(BadImage, match="has signed values of 8 bits"):
            read(tiff(np.array([[-100, 0, 100]], np.int8)))
    assert examine(tiff(np.array([[0, 100, 200]], np.uint8)), "L")[1][0, :, 0].tolist() == [0, 100, 200]


@pytest.mark.parametrize(
    ("values", "dtype", "taken"),
    [
        ([0, 1 << 31], np.uint32, False),
        ([0, (1 << 32) - 1], np.uint32, False),
        ([0, (1 << 31) - 1], np.uint32, True),
        ([-1, (1 << 31) - 1], np.int32, True),
        ([-1, 7], np.int16, True),
        ([0, 65535], np.uint16, True),
    ],
)
def test_labels_are_the_numbers_of_their_file_or_refused(values: list[int], dtype: Any, taken: bool) -> None:
    data = tiff(np.array([values], dtype))
    if taken:
        assert inspect_label(data) == (1, 2)
        assert decode_label(data).tolist() == [values]
    else:
        for read in (inspect_label, decode_label):
            with pytest.raises(BadImage, match="labels from 2147483648 on"):
                read(data)


@pytest.mark.parametrize("kind", ["png", "tif", "ppm"])
def test_colours_of_16_bits_are_noted_and_no_labels(kind: str) -> None:
    values = np.arange(0, 60000, 5000, np.uint16).reshape(2, 2, 3)
    data = {"png": png16, "tif": tiff, "ppm": lambda v: b"P6 2 2 65535 " + v.astype(">u2").tobytes()}[kind](values)
    header, array = examine(data)
    assert (header.mode, header.notes) == ("RGB", ("16_bit",))
    np.testing.assert_array_equal(array, values >> 8 if kind != "ppm" else np.rint(values * (255 / 65535)))
    with pytest.raises(BadImage, match="has colours of 16 bits"):
        inspect_label(data)


@pytest.mark.parametrize("kind", ["tiff", "gif"])
def test_labels_of_several_pictures_are_not_chosen_among(kind: str) -> None:
    one, two = (Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (1, 2))
    file = io.BytesIO()
    one.save(file, kind, save_all=True, append_images=[two])
    assert "animated" in read_header(file.getvalue()).notes
    with pytest.raises(BadImage, match="holds 2 pictures, and labels are one"):
        inspect_label(file.getvalue())


def test_pixels_that_pillow_does_not_read_are_told_from_damage() -> None:
    for dtype in (np.float16, np.float64):
        with pytest.raises(BadImage, match="or has pixels that Pillow does not read"):
            read_header(tiff(np.array([[0, 1]], dtype)))


def png16(values: np.ndarray[Any, Any]) -> bytes:
    """A PNG of (height, width, 3) uint16."""
    height, width, _ = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiff(values: np.ndarray[Any, Any]) -> bytes:
    """A plain TIFF (6.0) of (height, width[, channels]) of any type, as Pillow writes none."""
    height, width, channels = (*values.shape, 1)[:3]
    data, tail = values.tobytes(), b""
    sample = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {
        256: (width,),
        257: (height,),
        258: (values.itemsize * 8,) * channels,
        259: (1,),
        262: (2 if channels == 3 else 1,),
    }
    tags |= {273: (8,), 277: (channels,), 278: (height,), 279: (len(data),), 339: (sample,) * channels}
    behind, entries = 8 + len(data) + 2 + 12 * len(tags) + 4, b""
    for tag, numbers in tags.items():
        packed = struct.pack(f"<{len(numbers)}H", *numbers)
        if len(packed) > 4:
            packed, tail = struct.pack("<I", behind + len(tail)), tail + packed
        entries += struct.pack("<HHI", tag, 3, len(numbers)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4) + tail


def test_16_bit_keeps_its_upper_byte() -> None:
    values = np.linspace(0, 65535, 60).astype(np.uint16).reshape(6, 10)
    data = encoded(Image.fromarray(values), "PNG")
    np.testing.assert_array_equal(decode(data, "L")[..., 0], values >> 8)
    np.testing.assert_array_equal(decode(data, "I;16")[..., 0], values)


def test_palette_with_transparency() -> None:
    image = picture(1, 12, 15).quantize(7)
    data = encoded(image, "PNG", transparency=bytes([0, 128, 255]))
    assert decode(data).shape == (12, 15, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(1, 24, 40), quality=95, exif=exif.tobytes())
    assert read_header(data).orientation == orientation
    image = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(decode(data), np.asarray(image))
    np.testing.assert_array_equal(examine(data, orient=True)[1], np.asarray(ImageOps.exif_transpose(image)))


def test_bytes_after_the_end_are_no_damage() -> None:
    data = encoded(picture(1, 24, 40))
    np.testing.assert_array_equal(decode(data + b"\0" * 5000), decode(data))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_damage_is_an_error_or_harmless_never_a_crash(data: st.DataObject) -> None:
    whole = bytearray(encoded(picture(2, 40, 40), data.draw(st.sampled_from(["JPEG", "PNG", "GIF"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadImage):
        array = decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
        assert array.dtype == np.uint8
        assert array.ndim == 3


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.99])
def test_cut_short(keep: float) -> None:
    for kind in ("JPEG", "PNG"):
        data = encoded(picture(2, 64, 64), kind)
        with pytest.raises(BadImage):
            decode(data[: int(len(data) * keep)])


def test_what_earlier_judges_let_into_stores_stays_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoded(picture(2, 200, 200))
    for stored in (whole[: len(whole) * 2 // 3] + bytes(50_000), whole):
        assert decode(memoryview(stored)).shape == (200, 200, 3)
        monkeypatch.setattr("imgassets.images.judge.MAX_PIXELS", 200 * 200 - 1)
    assert decode(encoded(picture(2, 64, 64), "PNG")[:-8]).shape == (64, 64, 3)
    with pytest.raises(BadImage, match="more than the 39999 allowed"):
        examine(whole)


@pytest.mark.parametrize("size", [(64, 64), (224, 200), (31, 90)])
def test_resize_is_pillow_s_bicubic(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (150, 190, 3)).astype(np.float64)
    smooth = np.asarray(picture(4, 150, 190), np.float64)
    image = np.clip(0.7 * smooth + 0.3 * noise, 0, 255).astype(np.uint8)
    wanted = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)).astype(float)
    error = resize(image, size, "RGB").astype(float) - wanted
    assert 10 * np.log10(255**2 / (error**2).mean()) >= 60


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "P"])
def test_modes_survive_a_round_trip(mode: str) -> None:
    dtype, channels = MODES[mode]
    array = np.random.default_rng(0).integers(0, 2 if mode == "1" else 250, (5, 7, channels)).astype(dtype)
    image = to_image(array, mode)
    assert (image.mode, image.size) == (mode, (7, 5))
    np.testing.assert_array_equal(np.asarray(image).reshape(5, 7, channels), array)
    assert resize(array, (3, 4), mode).shape == (3, 4, channels)


@given(h=st.integers(1, 9), w=st.integers(1, 9), height=st.integers(1, 20), width=st.integers(1, 20))
@settings(deadline=None)
def test_nearest_is_pillow_s(h: int, w: int, height: int, width: int) -> None:
    for old, new in ((h, height), (w, width)):  # between two pixels Pillow's rounding errors decide
        assume(all((2 * k + 1) * old % (2 * new) for k in range(new)))
    labels = np.arange(h * w, dtype=np.int32).reshape(h, w)
    wanted = np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(nearest(labels, (height, width)), wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 2), (4, 5, 3)])
def test_labels_are_kept_exactly(dtype: Any, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    found = decode_label(encode(array))
    np.testing.assert_array_equal(found.reshape(shape), array)


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">i8"])
def test_labels_of_the_other_byte_order_are_the_same_numbers(dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 200, (4, 5)).astype(dtype)
    file = io.BytesIO()
    np.save(file, array)
    found = decode_label(file.getvalue())
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)


def test_a_palette_label_is_its_indices() -> None:
    image = Image.fromarray(np.array([[0, 1], [255, 3]], np.uint8), "P")
    image.putpalette(list(range(256)) * 3)
    np.testing.assert_array_equal(decode_label(encoded(image, "PNG")), [[0, 1], [255, 3]])


def test_no_labels() -> None:
    with pytest.raises(BadImage, match="whole numbers"):
        decode_label(encode(np.zeros((3, 3), np.float32)))


def test_hostile_arrays_are_no_labels() -> None:
    good = encode(np.zeros((3, 3), np.int64))
    start, end = good.index(b"{"), good.index(b"\n")
    headers = [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000000)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 2)}",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 3)}",
        b"(" * 60,
    ]
    for header in headers:
        with pytest.raises(BadImage, match="not an array"):
            decode_label(good[:start] + header.ljust(end - start) + good[end:])
    with pytest.raises(BadImage, match="not an array"):
        decode_label(good[:-1])

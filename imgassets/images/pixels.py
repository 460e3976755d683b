"""From image files to pixels and back: decoding by content, resizing, encoding.

JPEG goes through libjpeg-turbo (`simplejpeg`), which gives Pillow's very pixels in less time; the rest through Pillow.
"""

from __future__ import annotations

import io
from typing import Any, cast

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from imgassets.images.header import BadImage, ImageHeader, is_wide
from imgassets.images.jpeg import START, jpeg_header
from imgassets.images.judge import FORMAT, SIGNED, header_of, inspect, opened, read_header
from imgassets.images.sniff import extension, lossy_kind

QUALITY = 100
"""Quality of images that become JPEGs, with 4:2:0 chroma: what the reference conversion uses."""

STORED_PIXELS = 178_956_970
"""Largest image that is decoded from a store: stores of earlier versions hold some beyond `MAX_PIXELS`."""

MODES: dict[str, tuple[str, int]] = {
    "1": ("|b1", 1),
    "L": ("|u1", 1),
    "P": ("|u1", 1),
    "RGB": ("|u1", 3),
    "RGBA": ("|u1", 4),
    "CMYK": ("|u1", 4),
    "YCbCr": ("|u1", 3),
    "LAB": ("|u1", 3),
    "HSV": ("|u1", 3),
    "I;16": ("<u2", 1),
    "I": ("<i4", 1),
    "F": ("<f4", 1),
}
"""dtype and number of channels of Pillow's modes."""

PIXEL_RESIZED = frozenset({"L", "RGB"})
"""Modes whose values are 8-bit intensities, which the fast path resizes."""


def examine(data: bytes, mode: str = "RGB", orient: bool = False) -> tuple[ImageHeader, NDArray[Any]]:
    """Judge an image file as `inspect` does, but by decoding it: its header, and its pixels as `decode` gives them.

    `orient` turns the image upright as its EXIF orientation asks; without it pixels are as they are stored, as
    torchvision and Pillow have them.

    Raises:
        BadImage: see `inspect`.
    """
    if data[:2] == START:
        header = read_header(data)
        array = _strict(data, header, mode)
        if array is None:
            header, array = inspect(data, walk=False), _pillow(data, mode)
    else:
        with opened(data) as image:
            header, array = header_of(image, data), to_array(_converted(image, mode))
    return header, _upright(array, header.orientation) if orient else array


def decode(data: bytes | memoryview, mode: str = "RGB") -> NDArray[Any]:
    """Pixels of an image file, (height, width, channels) in the dtype of `mode`; the first frame of an animation.

    An empty `mode` keeps the file's own. What a decoder gets over is no error here: a file is judged before it is
    stored, and stays readable when judges become stricter.

    Raises:
        BadImage: there is no decoding it.
    """
    array = _strict(data, jpeg_header(data).within(STORED_PIXELS), mode) if data[:2] == START else None
    return _pillow(data, mode) if array is None else array


def as_jpeg(data: bytes) -> bytes:
    """An RGB JPEG of the same picture, for images that are not `ImageHeader.is_ordinary`.

    Alpha is dropped, 16 bits become the upper 8, CMYK is mixed as 255 x (1 - ink) x (1 - black): all three as
    TensorFlow's own decoder does it.

    Raises:
        BadImage: the image cannot be decoded.
    """
    header = inspect(data)
    if header.mode == "CMYK":
        try:
            ink = simplejpeg.decode_jpeg(data, "CMYK", strict=False)  # it was judged above
        except ValueError as error:
            raise BadImage(f"cannot be decoded: {error}") from None
        light = ink if header.inverted else 255 - ink
        pixels = (light[..., :3].astype(np.uint16) * light[..., 3:] // 255).astype(np.uint8)
    else:
        pixels = decode(data)
    return cast(bytes, simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420"))


def to_array(image: Any) -> NDArray[Any]:
    """Pixels of a Pillow image, (height, width, channels)."""
    array = np.array(image)
    return array.reshape(*array.shape[:2], -1)


def to_image(array: NDArray[Any], mode: str) -> Any:
    """A Pillow image of pixels (height, width, channels) or (height, width)."""
    return _image(np.ascontiguousarray(array), mode)


def resize(array: NDArray[Any], size: tuple[int, int], mode: str) -> NDArray[Any]:
    """Pixels (height, width, channels) at `size` (height, width), bicubic with antialiasing.

    8-bit intensities go through torch, within 1 to 7 levels of Pillow's bicubic; other modes through Pillow.
    Indices (`P`, `1`) are never mixed: they take the nearest.
    """
    if array.shape[:2] == tuple(size):
        return array
    if mode in PIXEL_RESIZED:
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None]
        done = torch.nn.functional.interpolate(pixels, size=list(size), mode="bicubic", antialias=True)
        return np.ascontiguousarray(done[0].permute(1, 2, 0).numpy())
    from PIL import Image

    how = Image.Resampling.NEAREST if mode in {"P", "1"} else Image.Resampling.BICUBIC
    return to_array(_image(np.ascontiguousarray(array), mode).resize((size[1], size[0]), how))


def nearest(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Labels (height, width, …) at `size`, each pixel the nearest one's, of any dtype (pixel centres, as Pillow)."""
    height, width = array.shape[:2]
    rows = (2 * np.arange(size[0]) + 1) * height // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * width // (2 * size[1])
    chosen: NDArray[Any] = array[rows[:, None], columns[None, :]]
    return chosen


def decode_label(data: bytes | memoryview) -> NDArray[Any]:
    """A label file as integers of native byte order, (height, width[, channels]): palette images keep their indices.

    Raises:
        BadImage: it cannot be read, does not hold whole numbers, or larger ones than 32 bits with a sign have.
    """
    if extension(data) == "npy":
        try:
            array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(bytes(data)), allow_pickle=False)
        except Exception as error:  # numpy parses a Python literal here: a hostile one raises nearly anything
            raise BadImage(f"not an array of numbers ({type(error).__name__}: {str(error)[:80]})") from error
    else:
        with opened(data) as image:
            array, tags = to_array(_converted(image, "")), getattr(image, "tag_v2", {})
        if array.min(initial=0) < 0 and tags and SIGNED not in tags.get(FORMAT, ()):
            raise BadImage("has labels from 2147483648 on, which decoders take for negative ones: save them as NPY")
        array = array[..., 0] if array.shape[2] == 1 else array
    if array.dtype.kind not in "biu" or array.ndim not in {2, 3}:
        raise BadImage(f"labels are whole numbers for every pixel, this is {array.dtype} of shape {array.shape}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # torch takes no other


def inspect_label(data: bytes) -> tuple[int, int]:
    """(height, width) of a label file, which must decode without any complaint.

    Raises:
        BadImage: see `inspect` and `decode_label`.
    """
    if extension(data) == "npy":
        height, width = decode_label(data).shape[:2]
        return height, width
    if lossy := lossy_kind(data):
        raise BadImage(f"is {lossy}, which changes the labels around every edge: save them as PNG, or as NPY")
    header = inspect(data, walk=False)
    if header.warning is not None:
        raise BadImage(f"is damaged: {header.warning}")
    if header.lossy:
        raise BadImage("is a TIFF compressed as JPEG, which changes the labels around every edge: save them losslessly")
    if header.mode == "F":
        raise BadImage("labels are whole numbers for every pixel, this is an image of fractions (mode F)")
    if header.frames > 1:
        raise BadImage(f"holds {header.frames} pictures, and labels are one: save the one that is meant")
    if header.deep:
        raise BadImage("has colours of 16 bits, of which decoders give the upper 8: save the labels as NPY")
    if header.mode == "I":
        decode_label(data)
    return header.height, header.width


def encode(array: NDArray[Any], mode: str = "") -> bytes:
    """A lossless file of pixels or labels: PNG where it has a mode for them, else NPY."""
    plain = array.reshape(array.shape[:2]) if array.ndim == 3 and array.shape[2] == 1 else array
    kinds = {("|u1", 2): "L", ("|u1", 3): "RGB", ("<u2", 2): "I;16", ("|b1", 2): "1"}
    mode = mode or kinds.get((plain.dtype.newbyteorder("<").str, plain.ndim), "")
    file = io.BytesIO()
    if mode in {"1", "L", "RGB", "I;16"} and (mode != "RGB" or plain.shape[2:] == (3,)):
        _image(np.ascontiguousarray(plain), mode).save(file, "PNG")
    else:
        np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _strict(data: bytes | memoryview, header: ImageHeader, mode: str) -> NDArray[Any] | None:
    """Pixels of a JPEG that decodes without any complaint; None of another one."""
    if header.kind != "jpg" or not {mode, header.mode} <= PIXEL_RESIZED:
        return None
    try:
        array: NDArray[Any] = simplejpeg.decode_jpeg(data, "GRAY" if header.mode == "L" else "RGB", strict=True)
    except ValueError:  # also for trifles like bytes between segments: Pillow tells those from damage
        return None
    return array if header.mode == mode else to_array(_image(array, header.mode).convert(mode))


def _pillow(data: bytes | memoryview, mode: str) -> NDArray[Any]:
    with opened(data) as image:
        return to_array(_converted(image, mode))


def _converted(image: Any, mode: str) -> Any:
    image.load()
    if not mode or image.mode == mode:
        return image
    if is_wide(image.mode) and not is_wide(mode):
        small = image.mode == "I" and image.format != "PPM"  # 32 bits; Pillow spreads a PPM's values over 16
        return _image(eight_bits(np.asarray(image), small), "L").convert(mode)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def eight_bits(values: NDArray[Any], small: bool = False) -> NDArray[np.uint8]:
    """Grey values as bytes: fractions of 0 to 1 spread over 0 to 255, of 0 to 255 as they are, integers' upper byte.

    Pillow would clip them. `small` takes integers that are all below 256 as they are.

    Raises:
        BadImage: they are in none of these ranges, so what is black and what is white is not known.
    """
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if values.dtype.kind == "f":
        if not 0 <= low <= high <= 255:  # nor is it where one is no number
            raise BadImage(f"has fractions from {low:g} to {high:g}: expected 0 to 1, or 0 to 255; convert it first")
        return np.asarray(np.rint(values * 255 if high <= 1 else values), np.uint8)
    if low < 0 or high > 65535:
        raise BadImage(f"has values from {low} to {high}: expected 0 to 65535; convert it first")
    small_enough = small and high < 256
    return np.asarray(values if small_enough else values >> 8, np.uint8)


def _image(array: NDArray[Any], mode: str) -> Any:
    from PIL import Image

    height, width = array.shape[:2]
    raw = {"1": "1;8", "I": "I;32S", "F": "F;32F"}.get(mode, mode)
    data = (array.astype(np.uint8) * 255 if mode == "1" else array).tobytes()
    return Image.frombytes(mode, (width, height), data, "raw", raw)


def _upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Exif 2.3, table 6: 2 and 4 are mirrored, 3 is half a turn, 5 to 8 lie on their side."""
    if orientation in {5, 6, 7, 8}:
        array = array.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        array = array[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        array = array[::-1]
    return np.ascontiguousarray(array)

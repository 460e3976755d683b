"""From image files to pixels: decoding by content, with what must be known of an image before it is trusted.

JPEG goes through libjpeg-turbo (`simplejpeg`, optional), which gives Pillow's very pixels in less time; the rest, and
all where it is missing, through Pillow.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imgassets.images.sniff import extension

MAX_PIXELS = 178_956_970
"""Larger images are refused as decompression bombs; twice Pillow's threshold for a warning, where it refuses too."""

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


class BadImage(ValueError):
    """An image that cannot be used; the text is the reason, without the file's name."""


ENDS = {"jpg": b"\xff\xd9", "png": b"IEND\xaeB`\x82", "gif": b";"}
"""Last bytes of a file that is whole."""


@dataclass(frozen=True)
class About:
    """What the header of an image file says."""

    kind: str
    """`jpg`, `png`, …"""
    width: int
    height: int
    mode: str
    """Pillow's mode."""
    orientation: int = 1
    """EXIF orientation, 1..8; 1 is upright."""
    frames: int = 1

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about it."""
        found = {
            "cmyk": self.mode in {"CMYK", "YCCK"},
            "grayscale": self.mode in {"L", "1", "LA"},
            "16_bit": self.mode.startswith("I"),
            "transparent": self.mode in {"RGBA", "LA", "PA"},
            "exif_rotated": self.orientation != 1,
            "animated": self.frames > 1,
        }
        return tuple(name for name, there in found.items() if there)


def look(data: bytes | memoryview) -> About:
    """Read an image file's header, and see that the file has its end.

    Raises:
        BadImage: it is empty, no image, cut short, or larger than `MAX_PIXELS`.
    """
    if not len(data):
        raise BadImage("the file is empty")
    kind = extension(data)
    about = _look_jpeg(data) if kind == "jpg" else None
    about = about or _look_pillow(data, kind)
    if about.width * about.height > MAX_PIXELS:
        raise BadImage(f"{about.width}x{about.height} pixels are more than the {MAX_PIXELS} allowed")
    if about.width < 1 or about.height < 1:
        raise BadImage("it has no pixels")
    if not bytes(data[-12:]).endswith(ENDS.get(kind, b"")):  # something follows the image, or its end is missing
        _pillow(data, "")
    return about


def decode(data: bytes | memoryview, mode: str = "RGB", orient: bool = False) -> NDArray[Any]:
    """Pixels of an image file, (height, width, channels) in the dtype of `mode`; the first frame of an animation.

    An empty `mode` keeps the file's own. `orient` turns the image upright as its EXIF orientation asks; without it
    pixels are as they are stored, as torchvision and Pillow have them.

    Raises:
        BadImage: see `look`; also data that ends too early or is corrupt.
    """
    about = look(data)
    if about.kind == "jpg" and mode in PIXEL_RESIZED and about.mode in PIXEL_RESIZED and _simplejpeg() is not None:
        array = _decode_jpeg(data, about.mode)
        if about.mode != mode:
            array = np.array(_image(array, about.mode).convert(mode))
        array = array.reshape(about.height, about.width, -1)
        return _upright(array, about.orientation) if orient else array
    array = to_array(_pillow(data, mode))
    return _upright(array, about.orientation) if orient else array


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
        BadImage: it cannot be read, or does not hold whole numbers.
    """
    if extension(data) == "npy":
        try:
            array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(bytes(data)), allow_pickle=False)
        except Exception as error:  # numpy parses a Python literal here: a hostile one raises nearly anything
            raise BadImage(f"not an array of numbers ({type(error).__name__}: {str(error)[:80]})") from error
    else:
        look(data)
        array = np.array(_pillow(data, ""))
    if array.dtype.kind not in "biu" or array.ndim not in {2, 3}:
        raise BadImage(f"labels are whole numbers for every pixel, this is {array.dtype} of shape {array.shape}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # torch takes no other


def look_label(data: bytes | memoryview) -> tuple[int, int]:
    """(height, width) of a label file, of which no more is read than `look` does; an NPY file is read whole.

    Raises:
        BadImage: see `look` and `decode_label`.
    """
    if extension(data) == "npy":
        height, width = decode_label(data).shape[:2]
        return height, width
    about = look(data)
    if about.mode == "F":
        raise BadImage("labels are whole numbers for every pixel, this is an image of fractions (mode F)")
    return about.height, about.width


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


@cache
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def _look_jpeg(data: bytes | memoryview) -> About | None:
    """A JPEG's frame header and EXIF orientation, by walking its segments (ITU-T T.81, Exif 2.3)."""
    head = memoryview(data)[: 1 << 20]
    at, orientation = 2, 1
    while at + 9 < len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            bits, channels = head[at + 4], head[at + 9]
            height, width = (int.from_bytes(head[at + k : at + k + 2], "big") for k in (5, 7))
            mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(channels)
            return About("jpg", width, height, mode, orientation) if mode and bits == 8 else None
        if marker == 0xE1 and bytes(head[at + 4 : at + 10]) == b"Exif\0\0":
            orientation = _orientation(head[at + 10 : at + 2 + length])
        at += 2 + length
    return None


def _orientation(tiff: memoryview) -> int:
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


def _look_pillow(data: bytes | memoryview, kind: str) -> About:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                frames = getattr(image, "n_frames", 1)
                orientation = image.getexif().get(0x0112, 1)
                return About(kind, image.width, image.height, image.mode, orientation, frames)
    except UnidentifiedImageError:
        raise BadImage("no image format that is known") from None
    except Image.DecompressionBombError as error:
        raise BadImage(f"too large: {error}") from None
    except Exception as error:
        raise BadImage(f"it cannot be read: {error}") from None


def _decode_jpeg(data: bytes | memoryview, mode: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = _simplejpeg().decode_jpeg(data, colorspace={"L": "GRAY", "RGB": "RGB"}[mode], strict=True)
    except ValueError:  # also for trifles like bytes between segments: Pillow tells those from damage
        return to_array(_pillow(data, mode))
    return array


def _pillow(data: bytes | memoryview, mode: str) -> Any:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                if not mode or image.mode == mode:
                    return image.copy()
                if image.mode.startswith("I") and mode not in {"I", "F", "I;16"}:
                    # Pillow clips 16-bit values at 255; their upper byte is what a viewer shows
                    upper = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
                    return Image.fromarray(upper).convert(mode)
                if image.mode == "P" and "transparency" in image.info:
                    image = image.convert("RGBA")  # type: ignore[assignment]
                return image.convert(mode)
    except (Image.DecompressionBombError, MemoryError):
        raise BadImage("too large to decode") from None
    except Exception as error:
        raise BadImage(f"it cannot be decoded: {error}") from None


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

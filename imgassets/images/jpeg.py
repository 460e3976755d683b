"""JPEG images as bytes: what their frame header says, whether they decode to the end, and others turned into them.

Marker codes and segment layout are those of ITU-T T.81 (JPEG), annex B; the colour transform flag is Adobe's
APP14 segment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Literal, cast

from imgassets.images import jpeg_scan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Colour = Literal["gray", "rgb", "cmyk"]

MAX_PIXELS = 1 << 27
"""Largest accepted image: about twice the largest of ILSVRC2012, and half a gigabyte of memory when decoded."""
QUALITY = 100
"""Quality of converted images, with 4:2:0 chroma: what the reference conversion uses."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_OTHERS = ("PNG", "BMP", "GIF")


class Damaged(ValueError):
    """These bytes are no whole image; the text says why, without the image's name."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What an image's header says.

    `format` is `JPEG`, `PNG`, `BMP` or `GIF`; `inverted` means CMYK stored as 255 - ink, as Adobe's programs do.
    """

    width: int
    height: int
    colour: Colour
    format: str = "JPEG"
    inverted: bool = False
    warning: str | None = None
    """What the decoder complained of although it could decode the whole image."""

    @property
    def is_ordinary(self) -> bool:
        """Whether every JPEG decoder shows these bytes as gray or RGB, so that they can be kept as they are."""
        return self.format == "JPEG" and self.colour != "cmyk"


def read_frame(data: bytes) -> Frame:
    """Parse a JPEG's segments up to the frame header.

    Raises:
        Damaged: there is no frame header, or it is not of 8 bits and 1, 3 or 4 components, or over `MAX_PIXELS`.
    """
    if not data:
        raise Damaged("is empty")
    if data[:2] != b"\xff\xd8":
        raise Damaged(f"is no JPEG: it begins with {data[:12]!r}")
    at, end, adobe = 2, len(data), False
    while True:
        while at < end and data[at] != 0xFF:  # decoders skip stray bytes between segments
            at += 1
        while at < end and data[at] == 0xFF:
            at += 1
        if at + 3 > end:
            raise Damaged("ends before its frame header")
        marker, at = data[at], at + 1
        if marker in _STANDALONE or marker == 0:
            continue
        if marker in {0xD9, 0xDA}:
            raise Damaged("has no frame header before its image data")
        size = int.from_bytes(data[at : at + 2], "big")
        if marker in _FRAMES:
            return _frame(data[at + 2 : at + size], adobe)
        adobe |= marker == 0xEE and data[at + 2 : at + 7] == b"Adobe"
        at += max(size, 2)


def inspect(data: bytes) -> Frame:
    """Decode a JPEG to the end, or another image whole, and return its header.

    Most JPEGs are proven whole by a walk over their Huffman codes. Any other is decoded at an eighth of its size, which
    reads every coefficient of every scan and so finds what a full decode finds. Trouble that decoders get over is kept
    in `Frame.warning`.

    Raises:
        Damaged: the image is cut, no decoder can read it, or it is none of JPEG, PNG, BMP and GIF.
    """
    if data[:2] != b"\xff\xd8":
        return _inspect_other(data)
    frame = read_frame(data)
    if jpeg_scan.is_whole(data):
        return frame
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(
            data,
            "CMYK" if frame.colour == "cmyk" else "GRAY",
            fastdct=True,
            fastupsample=True,
            min_height=1,
            min_width=1,
            strict=True,
        )
    except ValueError as error:
        return _second_opinion(data, frame, str(error))
    return frame


def as_jpeg(data: bytes) -> bytes:
    """An RGB JPEG of the same picture, for images that are not `Frame.is_ordinary`.

    Alpha is dropped, 16 bits become the upper 8, CMYK is mixed as 255 x (1 - ink) x (1 - black): all three as
    TensorFlow's own decoder does it.

    Raises:
        Damaged: the image cannot be decoded.
    """
    import simplejpeg

    if data[:2] != b"\xff\xd8":
        pixels = _open_other(data)
    else:
        frame = read_frame(data)
        try:
            ink = simplejpeg.decode_jpeg(data, "CMYK" if frame.colour == "cmyk" else "RGB")
        except ValueError as error:
            raise Damaged(f"cannot be decoded: {error}") from None
        pixels = _mix(ink, frame.inverted) if frame.colour == "cmyk" else ink
    return cast(bytes, simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420"))


def _frame(segment: bytes, adobe: bool) -> Frame:
    if len(segment) < 6:
        raise Damaged("ends inside its frame header")
    precision, components = segment[0], segment[5]
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    colours: dict[int, Colour] = {1: "gray", 3: "rgb", 4: "cmyk"}
    if precision != 8 or components not in colours:
        raise Damaged(f"has {components} components of {precision} bits, expected 1, 3 or 4 of 8 bits")
    _check_size(width, height)
    return Frame(width, height, colours[components], inverted=adobe and components == 4)


def _check_size(width: int, height: int) -> None:
    if not width or not height:
        raise Damaged(f"declares {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise Damaged(f"declares {width} x {height} pixels, more than the {MAX_PIXELS} allowed")


def _second_opinion(data: bytes, frame: Frame, complaint: str) -> Frame:
    """Whether a JPEG the strict decode stumbled over is whole all the same: some only have stray bytes, or a chroma
    subsampling that the fast decoder does not know."""
    if "Premature end" in complaint or b"\xff\xd9" not in data[-4096:]:
        raise Damaged("is cut: its image data end before the end-of-image marker")
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=["JPEG"]) as image:
            image.draft(None, (1, 1))
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Damaged(f"cannot be decoded: {error}") from None
    return replace(frame, warning=complaint) if "Corrupt" in complaint else frame


def _inspect_other(data: bytes) -> Frame:
    height, width, _ = _open_other(data).shape
    kinds = {b"\x89P": "PNG", b"BM": "BMP", b"GI": "GIF"}
    return Frame(width, height, "rgb", kinds[data[:2]])


def _open_other(data: bytes) -> NDArray[np.uint8]:
    """uint8 (height, width, 3) of an image that is no JPEG."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise Damaged("is empty")
    try:
        image = Image.open(BytesIO(data), formats=_OTHERS)
    except UnidentifiedImageError:
        raise Damaged(f"is no JPEG, PNG, BMP or GIF: it begins with {data[:12]!r}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Damaged(f"has a damaged header: {error}") from None
    with image:
        _check_size(*image.size)
        if getattr(image, "n_frames", 1) > 1:
            raise Damaged("is animated, expected one picture")
        try:
            if image.mode.startswith("I;16"):
                gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
                return np.repeat(gray[:, :, None], 3, axis=2)
            return np.asarray(_plain(image))
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise Damaged(f"cannot be decoded: {error}") from None


def _plain(image: Image.Image) -> Image.Image:
    # through RGBA, because Pillow warns when it drops transparency from a palette
    return image.convert("RGBA").convert("RGB") if "transparency" in image.info else image.convert("RGB")


def _mix(cmyk: NDArray[np.uint8], inverted: bool) -> NDArray[np.uint8]:
    import numpy as np

    light = cmyk if inverted else 255 - cmyk
    product = light[..., :3].astype(np.uint16) * light[..., 3:]
    return (product // 255).astype(np.uint8)

"""What the header of an image file says, and the one limit, the one error and the one list of notes about images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_PIXELS = 1 << 27
"""Largest accepted image: about twice the largest of ILSVRC2012, and half a gigabyte of memory when decoded."""


class BadImage(ValueError):
    """An image that cannot be used; the text is the reason, a phrase such as `is empty`, without the file's name."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """An image file's header, and after a look at all of the file what is wrong with it."""

    kind: str
    """`jpg`, `png`, … by content; `bin` where Pillow knows more formats than we do."""
    width: int
    height: int
    mode: str
    """Pillow's mode."""
    orientation: int = 1
    """EXIF orientation, 1..8; 1 is upright."""
    frames: int = 1
    inverted: bool = False
    """CMYK stored as 255 - ink, as Adobe's programs do."""
    warning: str | None = None
    """What a decoder complained of although it could decode the whole image."""
    deep: bool = False
    """Colours of 16 bits, of which decoders give the upper 8."""
    lossy: bool = False
    """A TIFF whose pixels were compressed as JPEG does it."""

    @property
    def colour(self) -> Literal["gray", "rgb", "cmyk"]:
        """What a JPEG decoder gives; RGB of any other kind."""
        return {"L": "gray", "CMYK": "cmyk"}.get(self.mode, "rgb") if self.kind == "jpg" else "rgb"  # type: ignore[return-value]

    @property
    def is_wide(self) -> bool:
        """Whether its values are wider than a byte, so that it depends on them what an 8-bit picture shows."""
        return is_wide(self.mode)

    @property
    def is_ordinary(self) -> bool:
        """Whether every JPEG decoder shows these bytes as gray or RGB, so that they can be kept as they are."""
        return self.kind == "jpg" and self.mode != "CMYK"

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual about it."""
        found = {
            "cmyk": self.mode in {"CMYK", "YCCK"},
            "grayscale": self.mode in {"L", "1", "LA"},
            "16_bit": self.mode.startswith("I") or self.deep,
            "fractions": self.mode == "F",
            "transparent": self.mode in {"RGBA", "LA", "PA"},
            "exif_rotated": self.orientation != 1,
            "animated": self.frames > 1,
        }
        return tuple(name for name, there in found.items() if there)

    def within(self, limit: int) -> ImageHeader:
        """Itself; BadImage if it has no pixels, or more than `limit`."""
        if not self.width or not self.height:
            raise BadImage(f"declares {self.width} x {self.height} pixels")
        if self.width * self.height > limit:
            raise BadImage(f"declares {self.width} x {self.height} pixels, more than the {limit} allowed")
        return self


def is_wide(mode: str) -> bool:
    """Whether values of one of Pillow's modes are wider than a byte."""
    return mode.startswith("I") or mode == "F"

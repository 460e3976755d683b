"""Files of any kind as pixels of one size: Pillow's, from what the store's own decoder makes of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from imgassets.augment import Augment, CenterCrop, RandomResizedCrop, Resize, fitting
from imgassets.augment.draws import draws
from imgassets.augment.fitting import fit
from imgassets.images.header import BadImage
from imgassets.images.pixels import decode
from imgassets.testing.making import encoded, picture


def fitted(data: bytes, augment: Augment, row: int = 0, mode: str = "RGB") -> NDArray[np.uint8]:
    out = np.full((*augment.shape, len(mode)), 77, np.uint8)
    fit(data, mode, augment, numbers(augment, row), out)
    return out


def numbers(augment: Augment, row: int) -> list[float]:
    found: list[float] = draws(1, 2, np.array([row]), augment.blocks)[0].tolist()
    return found


def by_pillow(pixels: NDArray[Any], augment: Augment, row: int = 0) -> NDArray[np.uint8]:
    """`crop`, `resize` and `transpose` of an image (height, width, channels)."""
    crop = augment.crop(*pixels.shape[:2], numbers(augment, row))
    box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).crop(box)
    image = image.resize(augment.shape[::-1], Image.Resampling.BILINEAR)
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.mirrored else image
    return np.asarray(image).reshape(*augment.shape, -1)


def apart(one: NDArray[Any], other: NDArray[Any]) -> int:
    return int(abs(one.astype(int) - other).max())


ROTATED = Image.Exif()
ROTATED[0x0112] = 6
SIXTEEN = np.arange(50 * 40, dtype=np.uint16).reshape(50, 40) * 32
FILES = {
    "jpeg": encoded(picture(1, 301, 420), quality=90),
    "4:4:4": encoded(picture(2, 90, 80), subsampling=0),
    "progressive": encoded(picture(3, 90, 80), progressive=True),
    "gray": encoded(picture(4, 90, 80, "L")),
    "cmyk": encoded(picture(5, 90, 80, "CMYK")),
    "exif": encoded(picture(6, 90, 80), exif=ROTATED),
    "trailing bytes": encoded(picture(6, 90, 80)) + b"\0\0",
    "png": encoded(picture(7, 90, 80), "PNG"),
    "rgba": encoded(picture(7, 90, 80, "RGBA"), "PNG"),
    "palette": encoded(picture(8, 90, 80).convert("P"), "PNG"),
    "16 bit": encoded(Image.fromarray(SIXTEEN), "PNG"),
    "webp": encoded(picture(9, 90, 80), "WEBP"),
    "gif": encoded(picture(10, 90, 80), "GIF"),
    "one pixel": encoded(picture(11, 1, 1), "PNG"),
    "one column": encoded(picture(12, 200, 1)),
}


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_the_store_s_decoder(name: str, mode: str) -> None:
    for augment in (RandomResizedCrop(32), CenterCrop((24, 40)), Resize(48), RandomResizedCrop((16, 70), exact=True)):
        for row in range(8):
            wanted = by_pillow(decode(FILES[name], mode), augment, row)
            assert apart(fitted(FILES[name], augment, row, mode), wanted) <= (1 if augment.exact else 60)


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    to=st.tuples(st.integers(16, 120), st.integers(16, 120)),
    subsampling=st.integers(0, 2),
    row=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=100)
def test_exact_is_within_one_level_of_pillow(
    size: tuple[int, int], to: tuple[int, int], subsampling: int, row: int
) -> None:
    data = encoded(picture(row, *size), quality=85, subsampling=subsampling)
    augment = RandomResizedCrop(to, (0.01, 1), exact=True)
    with Image.open(io.BytesIO(data)) as image:
        assert apart(fitted(data, augment, row), by_pillow(np.asarray(image), augment, row)) <= 1


@pytest.mark.parametrize("by", [1, 2, 4, 8])
def test_large_boxes_are_decoded_smaller(by: int) -> None:
    data = encoded(picture(3, 67, 69).resize((64 * by + 5, 64 * by + 3), Image.Resampling.BICUBIC), quality=95)
    augment = RandomResizedCrop(64, (0.98, 1))
    with patch.object(fitting, "decode_part", wraps=fitting.decode_part) as decoder:
        found = fitted(data, augment)
        exact = fitted(data, RandomResizedCrop(64, (0.98, 1), exact=True))
    crop = augment.crop(64 * by + 3, 64 * by + 5, numbers(augment, 0))
    enough = by if min(crop[2:4]) >= 64 * by else max(1, by // 2)
    assert [call.args[4] for call in decoder.call_args_list] == [enough, 1]
    error = np.mean((found.astype(float) - exact) ** 2)
    assert error == 0 if enough == 1 else 0 < error < 255**2 / 10**3.5  # 35 dB


def test_a_box_moves_smoothly_in_a_reduced_image() -> None:
    data = simplejpeg.encode_jpeg(np.asarray(picture(0, 300, 300)), quality=98)

    class At(Resize):
        left = 0

        def crop(self, height: int, width: int, numbers: Any) -> Any:
            return super().crop(200, 200, numbers)._replace(left=self.left, top=self.left)

    class ExactAt(At):
        exact = True

    for left in range(9):
        loose, strict = At(64), ExactAt(64)
        object.__setattr__(loose, "left", left)
        object.__setattr__(strict, "left", left)
        error = np.mean((fitted(data, loose).astype(float) - by_pillow(decode(data), loose)) ** 2)
        assert error < 6, left  # half a pixel off would be 50 and more


def test_without_the_library_pixels_are_the_same() -> None:
    augment = RandomResizedCrop(32, exact=True)
    for data in FILES.values():
        found = fitted(data, augment)
        with patch("imgassets.augment.region._machine_code", lambda: None):
            np.testing.assert_array_equal(fitted(data, augment), found)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xd9", FILES["jpeg"][:300], FILES["png"][:300]])
def test_what_cannot_be_decoded_is_said_as_the_store_says_it(data: bytes) -> None:
    with pytest.raises(BadImage) as found:
        fitted(data, Resize(32))
    with pytest.raises(BadImage) as wanted:
        decode(data, "RGB")
    assert str(found.value) == str(wanted.value)


def test_a_cut_jpeg_is_seen_whatever_the_box(tmp_path: Path) -> None:
    cut = FILES["jpeg"][:-2000]
    with pytest.raises(BadImage):
        decode(cut, "RGB")
    for row in range(20):
        with pytest.raises(BadImage):
            fitted(cut, RandomResizedCrop(32), row)

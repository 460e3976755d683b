"""A box at another size: Pillow's pixels, in memory that is there and no further."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from imgassets.augment.region import ROWS_BEYOND, address_of
from imgassets.augment.scaling import rescale, room_between, weights

sides = st.integers(1, 90)


def resized(
    pixels: NDArray[np.uint8], size: tuple[int, int], mirrored: bool = False, start: float = 0.0
) -> NDArray[np.uint8]:
    """Pixels from `start` on, both ways, at a size; what lies around the result must stay."""
    height, width, channels = pixels.shape
    rows = np.empty((height + ROWS_BEYOND, width, channels), np.uint8)
    rows[:height] = pixels
    guarded = np.full((size[0] + 2, size[1], channels), 201, np.uint8)
    columns = weights(start, width - start, size[1], mirrored)
    lines = weights(start, height - start, size[0])
    room = np.full(room_between(lines.end, (*size, channels)) + 100, 201, np.uint8)
    shape = (*size, channels)
    rescale(address_of(rows), width * channels, columns, lines, address_of(room), address_of(guarded[1:]), shape)
    assert (guarded[[0, -1]] == 201).all()
    assert (room[-100:] == 201).all()
    return guarded[1:-1]


def pillow(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(*size, -1)


@given(
    shape=st.tuples(sides, sides, st.sampled_from([1, 3])),
    size=st.tuples(st.integers(1, 70), st.integers(16, 70)),
    mirrored=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=300)
def test_pixels_are_pillow_s(shape: tuple[int, int, int], size: tuple[int, int], mirrored: bool, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    found = resized(pixels, size, mirrored).astype(int)
    wanted = pillow(pixels, size)[:, :: -1 if mirrored else 1]
    one_way = shape[0] == size[0] or shape[1] == size[1]
    assert abs(found - wanted).max() <= (0 if one_way else 1)  # Pillow may begin with either


@given(value=st.integers(0, 255), shape=st.tuples(sides, sides), size=st.integers(16, 70))
@settings(deadline=None)
def test_one_colour_stays(value: int, shape: tuple[int, int], size: int) -> None:
    pixels = np.full((*shape, 3), value, np.uint8)
    assert (resized(pixels, (size, size)) == value).all()


@given(length=st.floats(1, 400), start=st.sampled_from([0, 0.25, 0.5, 0.875]), places=st.integers(1, 300))
@settings(deadline=None)
def test_weights_stay_within_their_pixels(length: float, start: float, places: int) -> None:
    found = weights(start, length, places)
    pixels = int(np.ceil(start + length))
    assert found.first.min() >= 0
    assert found.first.max() + found.share.shape[1] <= pixels
    assert (found.share >= 0).all()
    assert abs(found.share.sum(1) / 2**22 - 1).max() < 1e-4
    mirrored = weights(start, length, places, True)
    np.testing.assert_array_equal(mirrored.share[::-1], found.share)
    np.testing.assert_array_equal(mirrored.first[::-1], found.first)


def test_a_box_may_begin_within_a_pixel() -> None:
    ramp = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[:, None], 120, 1)[..., None]
    whole, later = resized(ramp, (60, 60)).astype(float), resized(ramp, (60, 60), start=0.5).astype(float)
    shift = (later - whole)[10:-10, 0, 0]
    assert abs(shift - np.linspace(0.9, 0.1, 40)).max() <= 1  # half a pixel is one level; it shrinks to the far edge

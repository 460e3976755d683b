"""A part of a JPEG is the part of the whole, to the pixel; what is not sound is left to the other decoder."""

from __future__ import annotations

import ctypes
from typing import Any
from unittest.mock import patch

import numpy as np
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imgassets.augment import region
from imgassets.augment.region import Part, PixelRows, Scratch, decode_part
from imgassets.testing.making import encoded, picture

SIZES = [(1, 1), (7, 90), (64, 48), (129, 131), (200, 33)]
KINDS: list[dict[str, Any]] = [
    {"subsampling": 0},
    {"subsampling": 1},
    {"subsampling": 2},
    {"progressive": True},
    {"restart_marker_blocks": 3},
]
FILES = {(k, n, mode): encoded(picture(k, *size, mode), quality=88, **kind)
         for k, size in enumerate(SIZES) for n, kind in enumerate(KINDS) for mode in ("RGB", "L")}  # fmt: skip


def whole(data: bytes, mode: str, size: tuple[int, int], reduced: int) -> Any:
    colours = "GRAY" if mode == "L" else "RGB"
    return simplejpeg.decode_jpeg(data, colours, min_height=size[1], min_width=size[0], min_factor=reduced)


def pixels(found: PixelRows | None, part: Part, channels: int) -> NDArray[np.uint8]:
    assert found is not None
    memory = (ctypes.c_uint8 * (found.stride * part.height)).from_address(found.place)
    rows = np.frombuffer(memory, np.uint8).reshape(part.height, -1)
    return rows[:, : part.width * channels].reshape(part.height, part.width, channels).copy()


@given(key=st.sampled_from(sorted(FILES)), reduced=st.sampled_from([1, 2, 4, 8]), data=st.data())
@settings(deadline=None, max_examples=300)
def test_a_part_is_that_of_the_whole(key: tuple[int, int, str], reduced: int, data: st.DataObject) -> None:
    height, width = (-(-side // reduced) for side in SIZES[key[0]])
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    part = Part(left, top, data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top)))
    channels = len(key[2])
    scratch = Scratch()
    found = decode_part(FILES[key], (width, height), part, channels, reduced, scratch)
    wanted = whole(FILES[key], key[2], (width, height), reduced)
    np.testing.assert_array_equal(
        pixels(found, part, channels), wanted[top : top + part.height, left : left + part.width]
    )


def test_grey_becomes_colour() -> None:
    scratch, part = Scratch(), Part(5, 7, 40, 50)
    found = pixels(decode_part(FILES[2, 0, "L"], (48, 64), part, 3, 1, scratch), part, 3)
    grey = whole(FILES[2, 0, "L"], "L", (48, 64), 1)
    np.testing.assert_array_equal(found, np.repeat(grey[7:57, 5:45], 3, 2))


def test_what_is_cut_or_lies_is_left_alone() -> None:
    data = FILES[3, 0, "RGB"]
    size, part = (131, 129), Part(0, 0, 131, 129)
    scratch = Scratch()
    assert decode_part(data, size, part, 3, 1, scratch) is not None
    assert decode_part(data, (129, 131), part, 3, 1, scratch) is None
    for end in range(0, len(data) - 40, 97):
        assert decode_part(data[:end], size, part, 3, 1, scratch) is None
    assert decode_part(encoded(picture(0, 9, 9, "CMYK")), (9, 9), Part(0, 0, 9, 9), 3, 1, scratch) is None
    assert decode_part(b"\xff\xd8" + bytes(1000), size, part, 3, 1, scratch) is None


def test_damage_never_ends_the_process() -> None:
    random = np.random.default_rng(0)
    scratch = Scratch()
    for key, data in FILES.items():
        height, width = SIZES[key[0]]
        for _ in range(20):
            damaged = bytearray(data)
            for place in random.integers(2, len(data), 4).tolist():
                damaged[place] = int(random.integers(256))
            decode_part(bytes(damaged), (width, height), Part(0, 0, width, height), len(key[2]), 1, scratch)


def test_another_interface_of_the_library_is_refused() -> None:
    region._machine_code.cache_clear()
    try:
        with patch.object(region, "_VERSION", 80):
            assert decode_part(FILES[2, 0, "RGB"], (48, 64), Part(0, 0, 48, 64), 3, 1, Scratch()) is None
    finally:
        region._machine_code.cache_clear()


def test_scratch_is_kept_up_to_a_size() -> None:
    scratch = Scratch()
    first = scratch.room(1000)
    assert scratch.room(1500) == first
    scratch.room(Scratch.KEPT + 1)
    assert len(scratch._kept) > Scratch.KEPT
    scratch.room(1000)
    assert len(scratch._kept) < Scratch.KEPT

"""The quick proof against decoders: it is given for sound images, and never for one that a decoder complains about."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgassets.images import jpeg_scan
from imgassets.images.jpeg_scan import is_whole
from imgassets.images.judge import inspect
from tests.pictures import decoded, jpeg


@settings(deadline=None, max_examples=80)
@given(
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    mode=st.sampled_from(["L", "RGB"]),
    subsampling=st.sampled_from([0, 1, 2]),
    quality=st.sampled_from([1, 30, 75, 95, 100]),
    optimize=st.booleans(),
    comment=st.sampled_from([None, b"x", bytes(70)]),
)
def test_sound_images_of_the_usual_kind_are_proven(
    height: int, width: int, mode: str, subsampling: int, quality: int, optimize: bool, comment: bytes | None
) -> None:
    options: dict[str, Any] = {"comment": comment} if comment else {}
    data = jpeg(1, height, width, mode, quality=quality, subsampling=subsampling, optimize=optimize, **options)
    assert is_whole(data)
    assert is_whole(data + b"what lies behind the end")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_no_cut_is_whole(mode: str) -> None:
    data = jpeg(2, 24, 40, mode)
    assert not any(is_whole(data[:cut]) for cut in range(len(data)))
    assert not any(is_whole(data[:cut] + b"\xff\xd9") for cut in range(len(data) - 2))


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"progressive": True}),
        ("RGB", {"restart_marker_blocks": 2}),
        ("CMYK", {}),
    ],
)
def test_unusual_kinds_are_left_to_a_decoder(mode: str, options: dict[str, Any]) -> None:
    assert is_whole(jpeg(3, mode="RGB"))
    assert not is_whole(jpeg(3, mode=mode, **options))


@pytest.mark.parametrize("change", [-16, 16])
def test_another_height_than_the_scan_has_is_noticed(change: int) -> None:
    data = bytearray(jpeg(4, 48, 64))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 2] = (48 + change).to_bytes(2, "big")
    assert not is_whole(bytes(data))


def test_a_segment_that_goes_beyond_the_end_is_noticed() -> None:
    data = jpeg(5)
    at = data.index(b"\xff\xda") + 2
    header = data[at : at + int.from_bytes(data[at : at + 2], "big")]
    assert not is_whole(data[:at] + b"\xff\xff" + header[2:])


@pytest.mark.parametrize("seed", range(4))
def test_what_is_proven_decodes_without_complaint(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random damage: in the segments, where nearly every byte means something, and in the scan."""
    rng = random.Random(seed)
    sound = jpeg(seed, 40, 56, ["L", "RGB"][seed % 2], subsampling=seed % 3, optimize=seed > 1, quality=90)
    header = sound.index(b"\xff\xda") + 14
    proven = 0
    monkeypatch.setattr(jpeg_scan, "is_whole", lambda data: False)  # `inspect` then asks the decoder
    for trial in range(1500):
        data = bytearray(sound)
        place = rng.randrange(2, header if trial % 2 else len(data))
        match rng.randrange(4):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place] = rng.randrange(256)
            case 2:
                del data[place : place + rng.randrange(1, 9)]
            case _:
                data[place:place] = rng.randbytes(rng.randrange(1, 5))
        if is_whole(bytes(data)):
            proven += 1
            assert inspect(bytes(data)).warning is None
            assert decoded(bytes(data)).size
    assert proven > 100  # many a damaged scan is another sound scan: only checksums tell

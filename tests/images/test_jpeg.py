"""The walk over a JPEG's segments, on sound files and on any bytes at all."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.images.header import BadImage
from imgassets.images.jpeg import SCAN, START, jpeg_header, segments
from tests.images.damaged import exif
from tests.pictures import jpeg


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_segments_follow_each_other_up_to_the_first_scan(mode: str, progressive: bool) -> None:
    data = jpeg(1, mode=mode, progressive=progressive, comment=b"x" * 300)
    found = list(segments(data))
    assert all(segment.follows for segment in found)
    assert [segment.start for segment in found] == [6, *(segment.end + 4 for segment in found[:-1])]
    assert [segment.marker for segment in found].index(SCAN) == len(found) - 1
    assert all(data[segment.start - 3] == segment.marker for segment in found)
    assert list(segments(memoryview(data))) == found


def test_what_stands_between_segments_is_passed_over_and_told() -> None:
    data = jpeg(2)
    at = data.index(b"\xff\xdb")
    for between in (b"junk", b"\xff\xff", b"\xff\x01", b"\xff\xd3"):
        found = list(segments(data[:at] + between + data[at:]))
        assert [segment.marker for segment in found] == [segment.marker for segment in segments(data)]
        assert [segment.follows for segment in found].count(False) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    assert jpeg_header(jpeg(3, exif=exif(orientation))).orientation == orientation


@given(st.binary(max_size=200), st.integers(0, 700))
def test_any_bytes_are_walked_to_their_end(tail: bytes, keep: int) -> None:
    for data in (START + tail, jpeg(4, 8, 8)[:keep] + tail):
        found = list(segments(data))
        assert all(one.start <= two.start and one.end <= two.start for one, two in pairwise(found))
        with suppress(BadImage):
            header = jpeg_header(data)
            assert header.mode in {"L", "RGB", "CMYK"}
            assert 1 <= header.orientation <= 8

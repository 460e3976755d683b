"""What an index says of rows is believed only if every row lies in its file, however large its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgassets.stores.extents import Runs, Spans, lies_within

FAR = 1 << 62
NUMBERS = st.one_of(
    st.integers(-3, 70), st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from([FAR, -FAR, 2 * FAR - 1])
)


def index(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=4), st.integers(0, 64), st.none() | st.integers(0, 9))
@example([(2 * FAR - 1, 8)], 64, 8)
@example([(FAR, FAR), (0, 0)], 64, None)
@example([(0, 8), (60, 2)], 64, 8)
def test_spans(spans: list[tuple[int, int]], size: int, nbytes: int | None) -> None:
    said = Spans("a", *(index([span[k] for span in spans]) for k in (0, 1)))
    fits = all(offset >= 0 <= n and offset + n <= size and nbytes in {None, n} for offset, n in spans)
    assert lies_within(said, len(spans), size, nbytes) == fits
    assert not lies_within(said, len(spans) + 1, size, nbytes)


@given(
    st.lists(st.tuples(st.integers(1, 5), NUMBERS, NUMBERS), min_size=1, max_size=3),
    st.integers(0, 64),
    NUMBERS.map(abs),
)
@example([(5, 8, FAR)], 64, 8)
@example([(2, 0, -(1 << 63))], 64, 8)
@example([(3, 40, -8)], 64, 8)
@example([(1, 0, 0)], 64, 1 << 80)
def test_runs(runs: list[tuple[int, int, int]], size: int, nbytes: int) -> None:
    """A run of one row may have any stride that is no larger than the file."""
    ends = np.cumsum([count for count, _, _ in runs]).tolist()
    starts = index([0, *ends[:-1]])
    said = Runs("a", starts, index([offset for _, offset, _ in runs]), index([stride for _, _, stride in runs]))
    places = [offset + j * stride for count, offset, stride in runs for j in range(count)]
    fits = all(0 <= place <= size - nbytes for place in places) and all(abs(stride) <= size for *_, stride in runs)
    assert lies_within(said, ends[-1], size, nbytes) == fits


@pytest.mark.parametrize("nbytes", [None, 4])
def test_rows_of_one_size_only_where_the_field_says_so(nbytes: int | None) -> None:
    assert lies_within(Runs("a", index([0]), index([0]), index([4])), 2, 8, 4)
    assert not lies_within(Runs("a", index([0]), index([0]), index([4])), 2, 8, None)
    assert lies_within(Spans("a", index([0, 4]), index([4, 4])), 2, 8, nbytes)

"""Order, bounds, errors and leaving early."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.threads import ordered


def nothing() -> None:
    pass


@given(items=st.integers(0, 60), threads=st.integers(1, 5), ahead=st.integers(1, 7))
def test_results_come_in_order(items: int, threads: int, ahead: int) -> None:
    def square(k: int) -> int:
        time.sleep(0.0001 * (k * 7 % 3))
        return k * k

    assert list(ordered(square, range(items), threads, ahead, nothing)) == [k * k for k in range(items)]


def test_never_more_than_asked_for_is_begun() -> None:
    begun: list[int] = []
    taken = 0

    def items() -> Iterator[int]:
        for k in range(50):
            begun.append(k)
            assert len(begun) - taken <= 4 + 1
            yield k

    for _ in ordered(lambda k: k, items(), 2, 4, nothing):
        taken += 1
    assert taken == 50


def test_an_error_comes_in_its_place() -> None:
    def divide(k: int) -> float:
        return 1 / (3 - k)

    results = ordered(divide, range(9), 3, 4, nothing)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_thread_that_cannot_start_says_so() -> None:
    def start() -> None:
        raise OSError("no more threads of torch")

    with pytest.raises(OSError, match="no more threads"):
        list(ordered(str, range(5), 2, 3, start))


def test_start_runs_once_in_each_thread() -> None:
    started: list[int] = []
    done = ordered(lambda k: threading.get_ident(), range(40), 3, 6, lambda: started.append(threading.get_ident()))
    assert set(done) <= set(started)
    assert len(started) == len(set(started)) <= 3


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    seen: list[int] = []
    results = ordered(seen.append, range(1000), 2, 4, nothing)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(seen) <= 6

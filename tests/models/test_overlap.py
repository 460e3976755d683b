import threading
import time
from collections.abc import Iterator

import pytest

from imgassets.models.overlap import ahead


def test_order_is_kept_and_work_is_done_ahead() -> None:
    done: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10):
            done.append(i)
            yield i

    taken = ahead(items(), depth=2)
    assert next(taken) == 0
    deadline = time.monotonic() + 5
    while len(done) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert done == [0, 1, 2, 3]  # one taken, two waiting, one in the producer's hand
    assert list(taken) == list(range(1, 10))


def test_an_error_comes_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    taken = ahead(items())
    assert next(taken) == 1
    with pytest.raises(ValueError, match="broken"):
        next(taken)


def test_closing_closes_the_producer() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    taken = ahead(items())
    next(taken)
    taken.close()
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name == "imgassets-ahead"]

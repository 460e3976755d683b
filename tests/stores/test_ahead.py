"""Reading ahead: everything once, before it is asked for, and never what is in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.mapping import Mapped
from imgassets.stores import ahead, open_store
from imgassets.testing.making import arrays, make

PLACES = st.lists(st.tuples(st.integers(0, 1 << 22), st.integers(1, 1 << 19)), max_size=40)


class Told:
    """A mapping of which nothing is in memory."""

    def __init__(self, resident: bool = False) -> None:
        self.read: list[tuple[int, int]] = []
        self._resident = resident

    def resident(self, positions: Any) -> bool:
        return self._resident

    def read_ahead(self, begin: int, end: int) -> None:
        self.read.append((begin, end))


@given(PLACES)
def test_every_byte_is_read_once(places: list[tuple[int, int]]) -> None:
    told: Any = Told()
    positions, sizes = (np.array([place[k] for place in places], np.int64) for k in (0, 1))
    for read in ahead.pieces(told, positions, sizes):
        read()
    assert all(end - begin <= ahead.PIECE for begin, end in told.read)
    assert all(one[1] <= other[0] for one, other in zip(told.read, told.read[1:], strict=False))
    covered = np.zeros(1 << 23, bool)
    for begin, end in told.read:
        covered[begin:end] = True
    assert all(covered[at : at + size].all() for at, size in places)


def test_what_is_in_memory_is_not_read_again() -> None:
    told: Any = Told(resident=True)
    assert ahead.pieces(told, np.arange(100) * 4096, 10) == []


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), max_size=12), st.integers(1, 12))
def test_jobs_keep_their_order_and_are_read_before(sizes: list[list[int]], window: int) -> None:
    rows, begun = iter(range(10**6)), set[int]()
    jobs = [[np.array([next(rows) for _ in range(size)]) for size in job] for job in sizes]

    class Store:
        def ahead(self, some: Any) -> list[Callable[[], object]]:
            return [lambda row=row: begun.add(row) for row in some.tolist()]

    found = []
    nbytes = ahead.WINDOW_BYTES // window
    work = ahead.reading(lambda job: found.append((job, begun.copy())))
    for paced in ahead.paced(iter(jobs), Store(), nbytes):
        work(paced)
    assert [job for job, _ in found] == jobs
    for job, before in found:
        assert {row for batch in job for row in batch.tolist()} <= before


@pytest.mark.parametrize("format_", ["memmap", "hdf5", "parquet", "ipc", "tar"])
@pytest.mark.parametrize("shuffle", [False, True, "block"])
def test_epochs_are_the_same_whether_it_is_read_ahead(
    format_: str, shuffle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(make(tmp_path, arrays(), format_))

    def epoch() -> list[tuple[list[int], bytes]]:
        batches = store.loader(5, shuffle=shuffle, seed=3)
        return [(labels.tolist(), images.numpy().tobytes()) for images, labels in batches]

    wanted, read, really = epoch(), [], Mapped.read_ahead
    monkeypatch.setattr(Mapped, "resident", lambda mapped, positions: False)
    monkeypatch.setattr(Mapped, "read_ahead", lambda *place: (read.append(place), really(*place)))
    assert epoch() == wanted
    assert read


def test_what_was_written_and_read_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(range(256)) * 100)
    mapped = Mapped([path], [25600])
    assert mapped.bytes.sum()
    assert mapped.resident(np.array([0, 5000, 25599]))
    mapped.read_ahead(4097, 25600)

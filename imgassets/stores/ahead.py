"""Reading ahead of an epoch, whose order is known: what is not in memory is read before it is asked for.

By themselves systems read around each row that is asked for, one after the other, and wait for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from imgassets.mapping import Mapped
from imgassets.stores.extents import Index

WINDOW_ROWS = 16 << 10
"""Rows that are read ahead at a time: as many as `shuffle="block"` mixes with each other."""
WINDOW_BYTES, FILE_BYTES = 256 << 20, 128 << 10
"""And not many more bytes than these, of image files of about that size."""
SAMPLES = 32
"""Rows that tell whether a window is in memory."""
GAP = 128 << 10
"""Bytes between two rows that are sooner read than asked around."""
PIECE = 128 << 10
"""Bytes: what a system reads ahead by itself; of more than a device takes at once it would decline the rest."""

Read = Callable[[], object]
Job = list[Index]
"""Rows of some batches, which a thread fetches at once."""
Paced = tuple[Job, Sequence[Read]]
Out = TypeVar("Out")


def pieces(mapped: Mapped, positions: Index, sizes: Index | int) -> list[Read]:
    """Calls that each have the system read some of the bytes, in order; none where they are in memory."""
    if not len(positions) or mapped.resident(positions[:: max(1, len(positions) // SAMPLES)]):
        return []
    order = np.argsort(positions)
    begins = positions[order]
    ends = np.maximum.accumulate(begins + (sizes if isinstance(sizes, int) else sizes[order]))
    first = np.concatenate([[True], begins[1:] > ends[:-1] + GAP])
    last = np.concatenate([first[1:], [True]])
    runs = zip(begins[first].tolist(), ends[last].tolist(), strict=True)
    return [
        lambda at=at, end=end: mapped.read_ahead(at, min(at + PIECE, end))  # type: ignore[misc]
        for begin, end in runs
        for at in range(begin, end, PIECE)
    ]


def paced(jobs: Iterator[Job], store: object, nbytes: int | None) -> Iterator[Paced]:
    """Jobs, each with its share of what reads the rows of the next window; rows of `nbytes`, or of files (None).

    A store that can read ahead has `ahead`, as `OpenStore` says.
    """
    reads: Callable[[Index], Sequence[Read]] = getattr(store, "ahead", lambda rows: ())
    rows = min(WINDOW_ROWS, WINDOW_BYTES // (nbytes or FILE_BYTES))
    window = _window(jobs, rows)
    begun = reads(_joined(window))
    while window:
        following = _window(jobs, rows)
        coming = reads(_joined(following))
        for k, job in enumerate(window):
            yield job, [*begun, *coming[len(coming) * k // len(window) : len(coming) * (k + 1) // len(window)]]
            begun = []
        window = following


def reading(function: Callable[[Job], Out]) -> Callable[[Paced], Out]:
    """The same function of a job that `paced` has given reads, which are begun first."""

    def work(paced: Paced) -> Out:
        job, reads = paced
        for read in reads:
            read()
        return function(job)

    return work


def _window(jobs: Iterator[Job], rows: int) -> list[Job]:
    first = list(islice(jobs, 1))
    each = max(1, sum(map(len, first[0]))) if first else 1
    return [*first, *islice(jobs, max(0, rows // each - 1))]


def _joined(jobs: Sequence[Job]) -> Index:
    return np.concatenate([np.empty(0, np.int64), *(rows for job in jobs for rows in job)])

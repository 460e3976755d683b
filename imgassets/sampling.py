"""The order in which rows enter a sample: stratified at every length, and the same for every length."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BATCH = 1 << 16
"""Positions scheduled at a time: bounds the memory that Python integers take."""


def quota_order(labels: NDArray[np.integer], seed: int, stop: int | None = None) -> NDArray[np.int64]:
    """Order all rows so that each prefix holds every class in proportion, to within less than one row.

    `labels` is integer (N,), any values; the result is an int64 permutation of 0..N-1, or with `stop` its first `stop`
    entries, at the cost of those alone. For every t and every class of n rows, the first t entries hold more than
    t*n/N - 1 and fewer than t*n/N + 1 rows of that class. Samples of different sizes are therefore nested, and each is
    stratified. `seed` decides which rows of a class come first and how classes mix; equal arguments give equal orders.

    This is the chairman assignment problem (Tijdeman, Discrete Mathematics 32, 1980). The j-th row of a class keeps
    the bound exactly if its position, counted from 1, lies in [floor((j-1)N/n) + 1, ceil(jN/n)]. That makes a row a
    job of unit length with a release time and a deadline; a schedule exists (Tijdeman), and earliest deadline first
    finds one whenever there is one.
    """
    total = len(labels)
    stop = total if stop is None else min(stop, total)
    if stop <= 0:
        return np.empty(0, np.int64)
    release, deadline, row, tie = _jobs(labels, np.random.default_rng(seed), stop)
    # A job is known by its rank in the order of urgency, so that the heap compares plain integers.
    by_urgency = np.lexsort((tie, deadline))
    rank = np.empty(len(row), np.int64)
    rank[by_urgency] = np.arange(len(row))
    by_release = np.argsort(release, kind="stable")
    released = np.searchsorted(release[by_release], np.arange(1, stop + 1), side="right")
    arriving = rank[by_release]

    turn = np.empty(stop, np.int64)
    heap: list[int] = []
    for start in range(0, stop, BATCH):
        end = min(start + BATCH, stop)
        first = 0 if start == 0 else int(released[start - 1])
        jobs = arriving[first : released[end - 1]].tolist()
        cuts = (np.concatenate(([first], released[start:end])) - first).tolist()
        picked = []
        for a, b in pairwise(cuts):
            for job in jobs[a:b]:
                heappush(heap, job)
            picked.append(heappop(heap))
        turn[start:end] = picked
    return row[by_urgency[turn]]


def _jobs(labels: NDArray[np.integer], rng: np.random.Generator, stop: int) -> tuple[NDArray[np.int64], ...]:
    """Release, deadline, row and tie-breaker of every row that may come among the first `stop`."""
    total = len(labels)
    _, code, size = np.unique(labels, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(total)
    # The order of equally urgent classes is drawn for each row anew: a fixed one would repeat itself in every round.
    tie = rng.permutation(total)
    narrow = code.astype(np.min_scalar_type(len(size)))  # numpy sorts 16-bit keys by radix
    row = shuffled[np.argsort(narrow[shuffled], kind="stable")]
    count = np.repeat(size, size)
    turn = np.arange(total) - np.repeat(np.cumsum(size) - size, size)
    release = turn * total // count + 1
    soon = release <= stop
    release, row, turn, count = release[soon], row[soon], turn[soon], count[soon]
    deadline = -(-(turn + 1) * total // count)
    return release, deadline, row, tie[row]

"""Which image goes into which TFRecord shard: decided by the number of images, the number of shards and a seed."""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Spread = Literal["chunks", "even"]
WORDS = 1 << 14
"""Random numbers that are looked at together: no more than the processor's cache holds."""


def stem(split: str, shard: int, shards: int) -> str:
    """File name of a shard, e.g. `train-00017-of-01024`."""
    return f"{split}-{shard:05d}-of-{shards:05d}"


def stems(split: str, shards: int) -> list[str]:
    """File names of all shards of a split."""
    return [stem(split, shard, shards) for shard in range(shards)]


def shuffled(n: int, seed: int | None) -> NDArray[np.int64]:
    """The order of `n` sorted images: Python's `random.Random(seed).shuffle`, whose result is the same in all
    versions of the language since 3.2; `None` leaves them sorted. int64 (n,)."""
    return np.arange(n) if seed is None else _swapped(_draws(random.Random(seed), n))  # noqa: S311 (no secret)


def _draws(generator: random.Random, n: int) -> NDArray[np.int64]:
    """(n,): the place that `shuffle` swaps with place i, for i from n - 1 down to 1; place 0 stays.

    Each is the first of the generator's words whose leading bits, as many as i + 1 has, are a number up to i.
    """
    draws = np.zeros(n, np.int64)
    words = np.empty(0, np.uint32)
    while n > 1:
        if not len(words):
            words = np.frombuffer(generator.getrandbits(32 * WORDS).to_bytes(4 * WORDS, "little"), "<u4")
        bits = n.bit_length()
        tried = (words >> np.uint32(32 - bits)).astype(np.int32)
        fits, before = np.zeros(len(tried), bool), np.zeros(len(tried), np.int32)
        # whether a word fits depends on how many before it did: right from the front on, a little further each time
        while not np.array_equal(fits, again := tried < n - before):
            fits = again
            before = np.cumsum(fits, dtype=np.int32) - fits
        places = np.flatnonzero(fits)[: n + 1 - (1 << bits - 1)]  # below that, numbers have fewer bits
        draws[n - len(places) : n] = tried[places][::-1]
        n -= len(places)
        words = words[places[-1] + 1 :] if n.bit_length() < bits else words[:0]
    return draws


def _swapped(draws: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,): what lies in each place after every place i, from the last to the first, was swapped with `draws[i]` ≤ i.

    Before step i a place holds what the last step that drew it has brought there from its own place, or what lay there
    from the beginning; and a step's own place held at that time what came to it in the same way.
    """
    by_place = np.sort(draws << 32 | np.arange(len(draws)))  # then by step: the step before comes next
    place, step = by_place >> 32, by_place & 0xFFFFFFFF
    drawn_before = np.append(place[1:] == place[:-1], False)
    moved = step > place
    brought = np.arange(len(draws))
    brought[place[moved][::-1]] = step[moved][::-1]  # of several the last counts, the smallest
    while not np.array_equal(brought, further := brought[brought]):
        brought = further
    order = np.empty(len(draws), np.int64)
    order[step] = np.where(drawn_before, brought[np.roll(step, -1)], place)
    return order


def chunk(n: int, shards: int, shard: int, spread: Spread = "chunks") -> range:
    """Positions in the order that shard number `shard` holds.

    `chunks` gives every shard ceil(n / shards) until none are left, as the reference conversion does: the last
    shards of a small input are empty. `even` gives shards whose sizes differ by one at most.
    """
    if spread == "even":
        small, larger = divmod(n, shards)
        start = shard * small + min(shard, larger)
        return range(start, start + small + (shard < larger))
    size = -(-n // shards)
    return range(min(n, shard * size), min(n, (shard + 1) * size))

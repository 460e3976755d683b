"""Which image goes into which TFRecord shard: decided by the number of images, the number of shards and a seed."""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Spread = Literal["chunks", "even"]


def stem(split: str, shard: int, shards: int) -> str:
    """File name of a shard, e.g. `train-00017-of-01024`."""
    return f"{split}-{shard:05d}-of-{shards:05d}"


def stems(split: str, shards: int) -> list[str]:
    """File names of all shards of a split."""
    return [stem(split, shard, shards) for shard in range(shards)]


def shuffled(n: int, seed: int | None) -> NDArray[np.int64]:
    """The order of `n` sorted images: Python's `random.Random(seed).shuffle`, whose result is the same in all
    versions of the language since 3.2; `None` leaves them sorted. int64 (n,)."""
    order = list(range(n))
    if seed is not None:
        random.Random(seed).shuffle(order)  # noqa: S311 (an order, no secret)
    return np.array(order, dtype=np.int64)


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

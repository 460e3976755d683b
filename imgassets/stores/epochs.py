"""The order of an epoch's rows, and each process's share of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]
BLOCK_ROWS = 1024
WINDOW_BLOCKS = 16
"""Blocks whose rows are mixed with each other by `shuffle="block"`."""


def epoch_order(rows: int, shuffle: bool | Literal["block"], seed: int, epoch: int, block: int = BLOCK_ROWS) -> Index:
    """The order of one epoch: a permutation of all rows that depends on (seed, epoch) alone.

    `True` is uniform over all permutations. `"block"` permutes blocks of neighbouring rows and then the rows of every
    16 blocks with each other, for storage that is slow at random access.
    """
    if not shuffle:
        return np.arange(rows)
    random = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
    if shuffle is True:
        return random.permutation(rows)
    starts = random.permutation(np.arange(0, rows, block))
    order = [np.arange(start, min(start + block, rows)) for start in starts.tolist()]
    windows = [np.concatenate(order[at : at + WINDOW_BLOCKS]) for at in range(0, len(order), WINDOW_BLOCKS)]
    return np.concatenate([random.permutation(window) for window in windows]) if windows else np.arange(0)


@dataclass(frozen=True)
class Share:
    """One process's part of an epoch's order.

    A step takes `batch_size * world_size` places of the order, rank after rank. The last one takes what is left and
    deals it out evenly, to no rank more than one row more than to another; where a step of its own would not reach all
    ranks, it is part of the step before. So all ranks take the same number of steps, and none is without rows.
    `drop_last` leaves out what is no full step.
    """

    batch_size: int
    rank: int
    world_size: int
    drop_last: bool

    @property
    def step(self) -> int:
        """Places of the order that one step of all processes takes."""
        return self.batch_size * self.world_size

    def steps(self, left: int) -> int:
        """Steps out of `left` places; none where they are fewer than the ranks."""
        full, rest = divmod(max(0, left), self.step)
        return full + (rest >= self.world_size and not self.drop_last)

    def places(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """First and last place (exclusive) of this process's part of each step from place `start` to `end`."""
        for left in range(self.steps(end - start), 0, -1):
            rows = end - start if left == 1 and not self.drop_last else self.step
            yield start + rows * self.rank // self.world_size, start + rows * (self.rank + 1) // self.world_size
            start += self.step

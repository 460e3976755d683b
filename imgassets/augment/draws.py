"""Numbers that depend on seed, epoch and row alone: Philox 4x64 of Salmon et al. (2011), for many rows at once.

Those of a row are `np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, row, 1, 0])).random()`, one
after the other. An epoch's order uses the same key with counters whose third word is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 4
"""Numbers that come together."""
_Words = NDArray[np.uint64]
_ROUNDS = 10
_FACTORS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def draws(seed: int, epoch: int, rows: NDArray[np.int64], blocks: int) -> NDArray[np.float64]:
    """Numbers from 0 to below 1, (rows, 4 * blocks)."""
    shape = (len(rows), blocks)
    counter = np.broadcast_to(np.arange(1, blocks + 1, dtype=np.uint64), shape)
    row = np.broadcast_to(rows.astype(np.uint64)[:, None], shape)
    words: tuple[_Words, ...] = (counter, row, np.ones(shape, np.uint64), np.zeros(shape, np.uint64))
    for k in range(_ROUNDS):
        keys = [np.uint64((key + k * step) % (1 << 64)) for key, step in zip((seed, epoch), _STEPS, strict=True)]
        (high0, low0), (high1, low1) = (_product(word, f) for word, f in zip(words[::2], _FACTORS, strict=True))
        words = (high1 ^ words[1] ^ keys[0], low1, high0 ^ words[3] ^ keys[1], low0)
    numbers = (np.stack(words, -1) >> np.uint64(11)) * np.float64(2.0**-53)
    return numbers.reshape(len(rows), BLOCK * blocks)


def _product(words: _Words, factor: int) -> tuple[_Words, _Words]:
    """Upper and lower halves of 128 bits."""
    high, low = np.uint64(factor >> 32), np.uint64(factor & 0xFFFFFFFF)
    upper, lower = words >> _32, words & _LOW
    middle = upper * low + (lower * low >> _32)
    crossed = lower * high + (middle & _LOW)
    return upper * high + (middle >> _32) + (crossed >> _32), words * np.uint64(factor)

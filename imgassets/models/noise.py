"""Standard normal noise that belongs to a sample: the same for any batch, partition, order or restart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def noise(seed: int, samples: Iterable[int], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """(B, *shape) float32, each sample from its own counter-based stream keyed by (seed, sample)."""
    streams = (np.random.Generator(np.random.Philox(key=np.array([seed, i], np.uint64))) for i in samples)
    return np.stack([stream.standard_normal(shape, np.float32) for stream in streams])

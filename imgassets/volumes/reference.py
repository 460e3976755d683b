"""The preprocessing's definition in float64, voxel by voxel: slow, plain, nothing in common with the fast kernel."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from imgassets.volumes.grid import Preprocessing
from imgassets.volumes.volume import Volume


def evaluate(
    volume: Volume,
    spacing: tuple[float, float, float],
    recipe: Preprocessing,
    positions: np.ndarray[Any, np.dtype[np.int64]],
    scale: tuple[float, float] = (1.0, 0.0),
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Values at `positions`, int64 (3, N) of x, y, z in the result; float64 (N,)."""
    slope, intercept = volume.slope * scale[0], volume.intercept * scale[0] + scale[1]
    inside = np.ones(positions.shape[1], bool)
    corners = []
    for axis, n in enumerate(volume.shape_xyz):
        length, size = int(n * (spacing[axis] / recipe.spacing[axis])), recipe.shape[axis]
        place = positions[axis] - max(size - length, 0) // 2
        inside &= (place >= 0) & (place < min(length, size))
        source = np.clip((place + max(length - size, 0) // 2 + 0.5) * n / max(length, 1) - 0.5, 0, n - 1)
        low = np.floor(source).astype(np.int64)
        corners.append(((low, 1 - (source - low)), (np.minimum(low + 1, n - 1), source - low)))
    total = np.zeros(positions.shape[1])
    for (x, wx), (y, wy), (z, wz) in product(*corners):
        hu = volume.voxels[z, y, x].astype(np.float64) * slope + intercept
        total += np.clip(hu, *recipe.hu_clip) * wx * wy * wz
    return np.where(inside, total / recipe.divisor, recipe.pad_value)

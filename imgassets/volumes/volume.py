"""A volume as it lies in its file, before any arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

LIMIT = 8 << 30
"""Most bytes a decoded volume may take (a 1024 x 1024 x 2048 scan of float32); more is refused before allocating."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Stored voxels and what turns them into HU and millimetres.

    `voxels` is (z, y, x) in its stored dtype; `HU = voxels * slope + intercept`; `spacing` is (x, y, z) in mm,
    or None where the file does not say it. `affine` (4, 4) leads from stored x, y, z to the patient's right, front and
    up in mm; None where the file does not say which way up it lies.
    """

    voxels: np.ndarray[Any, Any]
    slope: float
    intercept: float
    spacing: tuple[float, float, float] | None
    affine: np.ndarray[Any, np.dtype[np.float64]] | None = None

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        z, y, x = self.voxels.shape
        return x, y, z

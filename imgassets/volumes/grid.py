"""The grid every volume is brought to, and where each of its positions lies in the source.

Constants are those of CT-CLIP's published inference preprocessing (ibrahimethemhamamci/CT-CLIP,
data_inference_nii.py): HU clipped to +-1000, trilinear resize without aligned corners to 0.75 x 0.75 x 1.5 mm, divided
by 1000, centre crop or pad with -1 to 480 x 480 x 240. Clipping comes before the resize, as there; clipping after it
moves edges by up to 0.9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Rescale = Literal["header", "csv"]
SpacingSource = Literal["csv", "header"]


@dataclass(frozen=True)
class Preprocessing:
    """Every step from stored voxels to a training array; the defaults are the reference's.

    `shape` and `spacing` (mm) are (x, y, z) of the result, `hu_clip` in HU; the result is HU / `divisor`, padding is
    `pad_value`. `rescale` says what turns stored voxels into HU: "header" is the file's own scaling and right for the
    `*_fixed` folders; "csv" multiplies by RescaleSlope and adds RescaleIntercept of the metadata on top, for files that
    hold raw detector values. `spacing_source` says whose spacing counts. `orientation` "RAS" turns a volume before that
    so that x, y and z grow to the patient's right, front and up, as nearly as flips and exchanges of axes can.
    """

    shape: tuple[int, int, int] = (480, 480, 240)
    spacing: tuple[float, float, float] = (0.75, 0.75, 1.5)
    hu_clip: tuple[float, float] = (-1000.0, 1000.0)
    divisor: float = 1000.0
    pad_value: float = -1.0
    rescale: Rescale = "header"
    spacing_source: SpacingSource = "csv"
    orientation: Literal["as_stored", "RAS"] = "as_stored"

    @property
    def nbytes(self) -> int:
        """Bytes of one result in float16."""
        return math.prod(self.shape) * 2

    def describe(self) -> dict[str, Any]:
        """What goes into manifests: every constant and the order of the steps."""
        return {
            "order": ["rescale", "clip", "resample", "normalise", "crop_pad"],
            "rescale": self.rescale,
            "spacing_source": self.spacing_source,
            "hu_clip": list(self.hu_clip),
            "target_spacing_xyz": list(self.spacing),
            "divisor": self.divisor,
            "pad_value": self.pad_value,
            "axes": "xyz",
            "interpolation": "trilinear, corners not aligned",
            **({"orientation": self.orientation} if self.orientation != "as_stored" else {}),
        }


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis: result positions [`before`, `before` + `keep`) come from source positions `low` and `high` = low + 1.

    value = source[low] * (1 - weight) + source[high] * weight; `low`, `high` int64 and `weight` float32 are (keep,).
    `resized` is the length before cropping, of which the first `skipped` are cut off.
    """

    before: int
    keep: int
    resized: int
    skipped: int
    low: np.ndarray[Any, np.dtype[np.int64]]
    high: np.ndarray[Any, np.dtype[np.int64]]
    weight: np.ndarray[Any, np.dtype[np.float32]]


def plan_axis(n: int, spacing: float, target: float, size: int) -> Axis:
    """Plan `n` voxels of `spacing` mm onto `size` positions of `target` mm, for the surviving positions only.

    Raises ValueError when the axis is shorter than one target voxel.
    """
    resized = int(n * (spacing / target))
    if resized < 1:
        raise ValueError(f"{n} voxels of {spacing} mm are less than one of {target} mm")
    keep = min(resized, size)
    position = np.arange(keep) + max(resized - size, 0) // 2
    source = np.maximum((position + 0.5) * (n / resized) - 0.5, 0.0)
    low = np.minimum(source.astype(np.int64), n - 1)
    return Axis(
        (size - keep) // 2,
        keep,
        resized,
        max(resized - size, 0) // 2,
        low,
        np.minimum(low + 1, n - 1),
        (source - low).astype(np.float32),
    )

"""Which volumes are no CT of HU: the cheapest proof that one is, or the reason why not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from imgassets.volumes.volume import Volume

HU_LIMIT = 1000.0
AIR = -900.0
"""HU below which voxels are air, which every chest holds and stands in; padding lies there as well."""
TISSUE, LEAST_TISSUE = -200.0, 0.01
"""HU above which fat, muscle and bone are, and the share of the voxels of any chest that lie there at least: a fifth,
usually. Of bone and metal alone, which are left there by an intercept that came once too often, it is far less."""
LEAST_WITHIN = 0.001
"""Share of voxels within +-1000 HU below which a volume is not a chest in HU (an intercept of -8192 applied to
voxels that are HU already leaves nothing within)."""


def verdict(volume: Volume, scale: tuple[float, float] = (1.0, 0.0)) -> str | None:
    """Why `volume` may not be used, or None: not finite, constant, or not plausible as HU.

    `scale` (slope, intercept) is applied after the volume's own. Slices are looked at from the middle outwards and only
    until the volume is proven sound, so a sound one costs next to nothing; float volumes are searched whole for NaN.
    """
    voxels = volume.voxels
    if voxels.dtype.kind == "f" and not all(np.isfinite(part).all() for part in voxels):
        return "holds values that are not finite"
    slope, intercept = volume.slope * scale[0], volume.intercept * scale[0] + scale[1]
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        return f"its scaling (slope {slope}, intercept {intercept}) is not finite"
    first = voxels.flat[0]
    constant, within, needed = True, 0, LEAST_WITHIN * voxels.size
    for k in middle_out(len(voxels)):
        constant = constant and bool((voxels[k] == first).all())
        if within < needed:
            hu = voxels[k].astype(np.float64) * slope + intercept
            within += int(np.count_nonzero((hu > -HU_LIMIT) & (hu < HU_LIMIT)))
        if within >= needed and not constant:
            return None
    if constant or slope == 0:
        return f"blank: every voxel is {float(first) * slope + intercept:g}"
    share = 1 - within / voxels.size
    return f"implausible as HU: {share:.2%} of the voxels are at or beyond +-1000 (was a rescale applied twice?)"


def left_raw(volume: Volume, told: tuple[float, float] | None) -> str | None:
    """Why a volume's own scaling is none, or None: no voxel is air, though a table tells of an intercept that makes it.

    `told` is the table's (slope, intercept).
    """
    if told is None or told[1] >= AIR:
        return None
    least = (AIR - volume.intercept) / volume.slope if volume.slope else math.inf
    if any((volume.voxels[k] < least if volume.slope > 0 else volume.voxels[k] > least).any()
           for k in middle_out(len(volume.voxels))):  # fmt: skip
        return None
    return (
        f"not in HU: no voxel lies below {AIR:g} HU by its own scaling ({volume.slope:g}, {volume.intercept:g}), "
        f"and the table has RescaleIntercept {told[1]:g}; volumes of raw values need rescale: csv"
    )


def scaled_twice(volume: Volume, scale: tuple[float, float] = (1.0, 0.0)) -> str | None:
    """Why a volume's scaling is one too many, or None: an intercept made all of it air, though every chest has tissue.

    `scale` is as in `verdict`.
    """
    slope, intercept = volume.slope * scale[0], volume.intercept * scale[0] + scale[1]
    if intercept > AIR:
        return None
    found, needed = 0, LEAST_TISSUE * volume.voxels.size
    for k in middle_out(len(volume.voxels)):
        found += int(np.count_nonzero(volume.voxels[k].astype(np.float64) * slope + intercept > TISSUE))
        if found >= needed:
            return None
    return (
        f"not in HU: with the intercept {intercept:g} only {found / volume.voxels.size:.2%} of the voxels lie above "
        f"{TISSUE:g} HU, where tissue is: its values were HU before (volumes of *_fixed need rescale: header)"
    )


def middle_out(n: int) -> list[int]:
    """0 ... n - 1, nearest to the middle first."""
    return sorted(range(n), key=lambda k: (abs(2 * k - n), k))


def histogram(values: np.ndarray[Any, Any], low: float, high: float, bins: int = 64) -> list[int]:
    """Counts of `bins` equal classes of [low, high]; the ends take what lies beyond."""
    place = np.clip((values.astype(np.float32) - low) * (bins / (high - low)), 0, bins - 1)
    return [int(n) for n in np.bincount(place.astype(np.int64).ravel(), minlength=bins)]

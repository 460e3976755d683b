"""Which way up a volume lies: from a NIfTI affine to axis codes, turns that lose nothing, and back to the patient.

Directions of the patient are NIfTI's: R, A and S are the ends that x, y and z of its millimetres grow towards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imgassets.volumes.grid import Axis
from imgassets.volumes.volume import Volume

Orientation = Literal["as_stored", "RAS"]
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
Affine = NDArray[np.float64]


@dataclass(frozen=True)
class Turn:
    """How stored axes become those of the result: which one each is, and whether it runs against it."""

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @property
    def codes(self) -> str:
        """Where the stored axes lead, of the turn to RAS: `LPS` of a volume whose x grows to the left, …"""
        ends = {axis: ENDS[k][not flip] for k, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True))}
        return "".join(ends[axis] for axis in range(3))


def to_ras(affine: Affine) -> Turn:
    """The turn to the nearest of the 48 orders and directions of axes that has right, front and up last.

    `affine` (4, 4) leads from stored x, y, z to the patient. Its rotation is the nearest one to it; of that, the
    direction that agrees best with a stored axis is taken, axis by axis, as nibabel does.
    """
    left, sizes, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    rotation = left[:, sizes > 1e-6] @ right[sizes > 1e-6]
    axes, flips = [0, 0, 0], [False, False, False]
    for axis in range(3):
        end = int(np.argmax(np.abs(rotation[:, axis])))
        axes[end], flips[end] = axis, bool(rotation[end, axis] < 0)
        rotation[end] = 0
    return Turn((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def oblique_degrees(affine: Affine) -> float:
    """Angle between a stored axis and the patient's that it is called after: the largest of the three."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    turn = to_ras(affine)
    return max(float(np.degrees(np.arccos(min(1.0, abs(unit[k, axis]))))) for k, axis in enumerate(turn.axes))


def turned(volume: Volume, turn: Turn) -> Volume:
    """The volume with its axes in the result's order, none of them flipped yet; nothing is copied."""
    order = [2 - turn.axes[k] for k in (2, 1, 0)]
    return replace(
        volume, voxels=volume.voxels.transpose(order), spacing=volume.spacing and along(volume.spacing, turn)
    )


def upright(volume: Volume, spacing: Sequence[float]) -> tuple[Volume, tuple[float, float, float]]:
    """The volume in RAS, as a view of its voxels, and its spacing.

    Raises:
        ValueError: its file does not say which way up it lies.
    """
    if volume.affine is None:
        raise ValueError("its file does not say which way up it lies")
    turn = to_ras(volume.affine)
    z, y, x = (slice(None, None, -1 if flip else 1) for flip in reversed(turn.flips))
    return replace(turned(volume, turn), voxels=turned(volume, turn).voxels[z, y, x]), along(spacing, turn)


def along(values: Sequence[float], turn: Turn) -> tuple[float, float, float]:
    """Values of stored x, y, z in the order of the result's axes."""
    x, y, z = (values[axis] for axis in turn.axes)
    return x, y, z


def grid_affine(affine: Affine, turn: Turn, plans: Sequence[Axis], shape: Sequence[int]) -> Affine:
    """From positions of the result, which `plans` led to, to the patient, (4, 4).

    `affine` and `shape`, voxels along x, y and z, are the stored volume's.
    """
    to_stored = np.zeros((4, 4))
    to_stored[3, 3] = 1
    for k, (axis, flip, plan) in enumerate(zip(turn.axes, turn.flips, plans, strict=True)):
        step = shape[axis] / plan.resized
        first = (plan.skipped - plan.before + 0.5) * step - 0.5  # of position 0; the plan counts from the flipped end
        to_stored[axis, k] = -step if flip else step
        to_stored[axis, 3] = shape[axis] - 1 - first if flip else first
    return affine @ to_stored


def geometry(
    affine: Affine | None, turn: Turn, orientation: Orientation, plans: Sequence[Axis], shape: Sequence[int]
) -> dict[str, Any]:
    """What a sample's `.json` says of where it lies in the patient: with it, `to_patient` leads back.

    `affine` None, of a file that does not say which way up it is, has no codes and leads nowhere.
    """
    if affine is None:
        return {"orientation": orientation, "source_axes": None, "axes": None, "oblique_degrees": None, "affine": None}
    codes = to_ras(affine).codes
    return {
        "orientation": orientation,
        "source_axes": codes,
        "axes": codes if orientation == "as_stored" else "RAS",
        "oblique_degrees": round(oblique_degrees(affine), 3),
        "affine": grid_affine(affine, turn, plans, shape).tolist(),
    }

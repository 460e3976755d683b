"""Pictures of CT volumes and their labels for the run page, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from imgassets.views import histogram, picture_markdown, spread

__all__ = ["hu_histogram", "prevalence", "slices", "spread"]

EDGE = 200
"""Height of one slice, in pixels."""


def slices(volumes: Sequence[NDArray[np.float16]], title: str) -> str:
    """Middle slices of volumes (x, y, z) in [-1, 1]: a row each: axial, coronal, sagittal, the last two with z up."""
    from PIL import Image

    rows = []
    for volume in volumes:
        x, y, z = (n // 2 for n in volume.shape)
        planes = (volume[:, :, z].T, volume[:, y, ::-1].T, volume[x, :, ::-1].T)
        grey = [((np.clip(plane.astype(np.float32), -1, 1) + 1) * 127.5).astype(np.uint8) for plane in planes]
        rows.append([Image.fromarray(plane).resize((EDGE, EDGE), Image.Resampling.BILINEAR) for plane in grey])
    sheet = Image.new("L", (3 * (EDGE + 2) + 2, len(rows) * (EDGE + 2) + 2), 255)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet.paste(picture, (2 + j * (EDGE + 2), 2 + i * (EDGE + 2)))
    return picture_markdown(sheet, title)


def hu_histogram(volumes: Sequence[NDArray[np.float16]], bins: int = 100) -> str:
    """Distribution of HU over every fourth voxel along each axis, padding and clipped air left out."""
    values = np.concatenate([volume[::4, ::4, ::4].astype(np.float32).ravel() for volume in volumes]) * 1000
    counts, _ = np.histogram(values[values > -1000], bins, (-1000, 1000))
    return histogram(counts, "HU", x="20 HU each, from -1000 to 1000", y="voxels")


def prevalence(counts: Mapping[str, int], total: int) -> str:
    """How many volumes have each class, as a table with bars."""
    lines = ["| class | volumes | share | |", "|---|--:|--:|:--|"]
    for name, count in counts.items():
        share = count / max(total, 1)
        lines.append(f"| {name} | {count:,} | {share:.1%} | {'█' * round(20 * share)} |")
    return "\n".join(lines)

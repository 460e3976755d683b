"""An embedding: a CSV of points with what is known of each, the parameters and statistics as JSON, and a plot."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.commit import Stage

if TYPE_CHECKING:
    import pyarrow as pa

PLOT = "plot.png"
COLOURS = {"real": (79, 67, 221), "generated": (230, 126, 34)}


@dataclass(frozen=True)
class Embedding:
    """What an embedding is written from."""

    name: str
    """Stem of the CSV and JSON files, e.g. `imagenet_real_umap_n15_d0.1`."""
    points: pa.Table
    """A column `kind`, `real` or `generated`, those known of the samples, and `umap_x`, `umap_y`."""
    report: Mapping[str, Any]


def write_embedding(embedding: Embedding, stage: Stage) -> None:
    """Write `<name>.csv`, `<name>.json` and `plot.png`."""
    import pyarrow.csv

    buffer = io.BytesIO()
    pyarrow.csv.write_csv(embedding.points, buffer)
    with stage.create(f"{embedding.name}.csv") as sink:
        sink.write(buffer.getvalue())
    with stage.create(f"{embedding.name}.json") as sink:
        sink.write(json.dumps(embedding.report, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n")
    plane = np.stack([embedding.points[name].to_numpy() for name in ("umap_x", "umap_y")], axis=1)
    picture = io.BytesIO()
    warnings = [layer["warning"] for layer in embedding.report.get("layers", {}).values() if "warning" in layer]
    scatter(plane, np.array(embedding.points["kind"].to_pylist()), notes=warnings[:1]).save(picture, "PNG")
    with stage.create(PLOT) as sink:
        sink.write(picture.getvalue())


def scatter(plane: NDArray[np.float32], kinds: NDArray[np.str_], size: int = 640, notes: Sequence[str] = ()) -> Any:
    """A Pillow image of (N, 2) points, coloured by kind, `notes` at its foot; kinds take turns, so that none hides the
    other."""
    from PIL import Image, ImageDraw

    edge = 24
    canvas = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(canvas)
    low, high = plane.min(axis=0), plane.max(axis=0)
    places = edge + (plane - low) / np.maximum(high - low, 1e-9) * (size - 2 * edge)
    radius = 3 if len(plane) < 2000 else 1
    for i in np.random.default_rng(0).permutation(len(plane)):
        x, y = places[i, 0], size - places[i, 1]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[str(kinds[i])])
    for row, (kind, colour) in enumerate(COLOURS.items()):
        top = 6 + 14 * row
        draw.rectangle((6, top, 16, top + 10), fill=colour)
        draw.text((22, top), f"{kind} ({np.count_nonzero(kinds == kind)})", fill="black")
    lines = [line for note in notes for line in textwrap.wrap(f"Fréchet distance: {note}", 100)]
    for row, line in enumerate(reversed(lines)):
        draw.text((6, size - 16 - 12 * row), line, fill="black")
    return canvas


def plot_path(folder: Path) -> Path:
    """The plot of an embedding's folder."""
    return folder / PLOT

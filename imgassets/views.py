"""Pictures for the run page: Markdown with the image inside, small enough for the event log, readable at a glance."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 50_000
"""Largest picture: previews are stored in Dagster's event log, one per partition and materialization."""


def contact_sheet(images: NDArray[np.uint8], title: str, *, columns: int = 12, tile: int = 64) -> str:
    """Images side by side, as a JPEG of at most `MAX_BYTES`.

    Args:
        images: uint8 (N, H, W) or (N, H, W, 1 or 3); all of them are shown.
        title: the picture's alternative text.
        columns: images in a row.
        tile: edge of one image in the sheet, in pixels; larger images are reduced, smaller ones kept.
    """
    from PIL import Image

    if images.ndim == 3:
        images = images[..., None]
    count, height, width, channels = images.shape
    scale = min(1.0, tile / max(height, width))
    high, wide = max(1, round(height * scale)), max(1, round(width * scale))
    columns = min(columns, max(count, 1))
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * (wide + 2) + 2, rows * (high + 2) + 2), "white")
    for i, pixels in enumerate(images):
        picture = Image.fromarray(np.repeat(pixels, 3, axis=2) if channels == 1 else pixels)
        if scale < 1:
            picture = picture.resize((wide, high), Image.Resampling.BOX)
        sheet.paste(picture, (2 + i % columns * (wide + 2), 2 + i // columns * (high + 2)))
    return picture_markdown(sheet, title)


def picture_markdown(picture: Any, title: str) -> str:
    """A Pillow image as Markdown, with the best JPEG quality that stays within `MAX_BYTES`."""
    while True:
        for quality in (85, 70, 55, 40):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= MAX_BYTES:
                return _markdown("image/jpeg", buffer.getvalue(), title)
        picture = picture.resize((picture.width * 2 // 3, picture.height * 2 // 3))


def histogram(counts: NDArray[Any], title: str, *, x: str, y: str, first: int = 0, points: int = 500) -> str:
    """A histogram as an SVG with its axes' ends labelled.

    Args:
        counts: (N,) heights, finite and not negative; more than `points` are drawn as the largest of their neighbours.
        title: text above the picture.
        x: what the places count, e.g. `class_id`; y: what the heights count, e.g. `images`.
        first: number of the first place.
    """
    heights = np.asarray(counts, np.float64)
    step = -(-len(heights) // points)
    padded = np.pad(heights, (0, -len(heights) % step))
    bars = padded.reshape(-1, step).max(axis=1)
    width, height = 600.0, 140.0
    top = max(bars.max(initial=0.0), 1e-12)
    dx = width / max(len(bars), 1)
    path = "".join(f"V{height - v / top * height:.1f}h{dx:.2f}" for v in bars)
    low, high = (f"{value:,.4g}" if value % 1 else f"{value:,.0f}" for value in (0.0, heights.max(initial=0.0)))
    svg = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 690 205" width="690" height="205"
 font-family="sans-serif" font-size="12" fill="#444"><rect width="690" height="205" fill="white"/>
<text x="70" y="16" font-size="13" font-weight="bold">{escape(title)}</text>
<g transform="translate(70 30)"><path d="M0 {height}{path}V{height}Z" fill="#4f43dd"/>
<path d="M0 0V{height}H{width}" fill="none" stroke="#888"/>
<text x="-6" y="10" text-anchor="end">{high}</text><text x="-6" y="{height}" text-anchor="end">{low}</text>
<text x="-6" y="{height / 2}" text-anchor="end">{escape(y)}</text>
<text x="0" y="{height + 16}">{first}</text>
<text x="{width / 2}" y="{height + 16}" text-anchor="middle">{escape(x)}</text>
<text x="{width}" y="{height + 16}" text-anchor="end">{first + len(heights) - 1}</text></g></svg>"""
    return _markdown("image/svg+xml", svg.encode(), title)


def spread(count: int, wanted: int) -> NDArray[np.int64]:
    """At most `wanted` places out of `count`, evenly spread: which samples a contact sheet shows."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64)) if count else np.empty(0, np.int64)


def _markdown(kind: str, data: bytes, title: str) -> str:
    return f"![{title}](data:{kind};base64,{base64.b64encode(data).decode()})"

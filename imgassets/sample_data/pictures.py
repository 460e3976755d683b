"""Procedural pictures with the statistics of natural ones: free of any licence, the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def picture(seed: int, height: int, width: int, hue: float) -> NDArray[np.uint8]:
    """One picture, uint8 (height, width, 3): a textured ground and a shaded disc on it.

    The texture's amplitude falls with frequency to the power 1.4, within the 0.8 to 1.5 of natural images (Tolhurst et
    al. 1992), and its colours are correlated; `hue` (0..1) tints the disc, so that classes differ.
    """
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    amplitude = np.maximum(np.hypot(fy, fx), 1 / max(height, width)) ** -1.4
    phases = np.exp(2j * np.pi * rng.random((3, height, len(fx))))
    texture = np.fft.irfft2(amplitude * phases, s=(height, width))
    texture /= texture.std(axis=(1, 2), keepdims=True)
    ground = 0.8 * texture[:1] + 0.3 * texture  # mostly brightness, a little colour
    y, x = np.mgrid[0:height, 0:width]
    cy, cx = rng.uniform(0.3, 0.7, 2) * (height, width)
    distance = np.hypot(y - cy, x - cx) / (rng.uniform(0.15, 0.35) * min(height, width))
    tint = 0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0, 1 / 3, 2 / 3])))
    shade = np.clip(1.2 - distance, 0, 1) * np.clip(1.3 - 0.5 * (x - cx + y - cy) / min(height, width), 0, 2)
    mask = np.clip((1 - distance) * 8, 0, 1)
    levels = 110 + 45 * ground
    mixed = levels * (1 - mask) + mask * (60 + 150 * tint[:, None, None] * shade + 12 * texture)
    pixels: NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return pixels

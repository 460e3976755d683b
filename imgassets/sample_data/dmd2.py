"""A tiny network in the published one's form: seeded random weights, and a path that lets the image through.

It has learned nothing. The path makes its reconstructions look like the originals, so that the pictures in the UI show
what a trained network's would; what it generates from noise is noise.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgassets.extras import extra
from imgassets.models.config import NetworkConfig

CONFIG = NetworkConfig(model_channels=8, channel_mult=(1, 2, 4, 4), num_blocks=1, attn_resolutions=(8,))
SIGNED = ((0, 1), (2, 3), (4, 5))
"""Channels that carry red, green and blue, each with its negative beside it: silu(a) - silu(-a) = a."""


def write(raw: Path) -> None:
    """Write `dmd2/network.json` and `dmd2/checkpoint.safetensors` below `raw`."""
    save_file = extra("safetensors.numpy").save_file

    folder = raw / "dmd2"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.json").write_text(json.dumps(CONFIG.as_dict(), indent=1) + "\n", encoding="utf-8")
    save_file(weights(), folder / "checkpoint.safetensors")


def weights() -> dict[str, NDArray[np.float32]]:
    """The state dict."""
    import torch

    from imgassets.models.edm import Denoiser

    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Denoiser(CONFIG).state_dict().items()}
    rng = np.random.default_rng(0)
    state = {name: _seeded(rng, name, shape) for name, shape in shapes.items()}
    _let_through(state)
    return state


def _seeded(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if name.endswith("resample_filter"):
        return np.full(shape, 0.25, np.float32)
    if "norm" in name or name.endswith("bias"):
        return np.full(shape, float("norm" in name and name.endswith("weight")), np.float32)
    fan_in = 1 if "map_label" in name else int(np.prod(shape[1:]))
    return rng.standard_normal(shape).astype(np.float32) / np.float32(fan_in**0.5)


def _let_through(state: dict[str, NDArray[np.float32]]) -> None:
    """First convolution -> skip connection -> last block's shortcut -> last convolution; the rest adds a little."""
    first, last = state["model.enc.64x64_conv.weight"], CONFIG.decoder[-1]
    shortcut, out = state[f"model.dec.{last.name}.skip.weight"], state["model.out_conv.weight"]
    first[:], shortcut[:], out[:] = 0, 0, 0
    for colour, (plus, minus) in enumerate(SIGNED):
        first[plus, colour, 1, 1], first[minus, colour, 1, 1] = 1, -1
        out[colour, plus, 1, 1], out[colour, minus, 1, 1] = 0.6, -0.6
    for channel in range(last.cout):
        shortcut[channel, last.cin - last.cout + channel] = 1
    state[f"model.dec.{last.name}.conv1.weight"] *= 0.05

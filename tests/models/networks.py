"""Networks with weights from a formula, so that numbers can be compared without downloading any."""

import zlib

import numpy as np
import torch  # noqa: TID253

from imgassets.models.config import NetworkConfig
from imgassets.models.edm import Denoiser

SMALL = NetworkConfig(model_channels=32, num_blocks=1)
TINY = NetworkConfig(img_resolution=16, model_channels=16, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(8,))


def uniform(key: str, count: int) -> np.ndarray:
    """SplitMix64 in counter mode, keyed by the CRC-32 of a name: float64 in [0, 1)."""
    with np.errstate(over="ignore"):
        base = np.uint64(zlib.crc32(key.encode())) << np.uint64(32)
        z = (base + np.arange(1, count + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def weight(name: str, shape: tuple[int, ...], salt: str) -> np.ndarray:
    """A weight of unit scale for its role, float32."""
    if name.endswith("resample_filter"):
        return np.full(shape, 0.25, np.float32)
    v = (2 * uniform(salt + name, int(np.prod(shape))) - 1) * np.sqrt(3.0)
    *_, parent, leaf = name.split(".")
    if leaf == "bias":
        v = 0.1 * v
    elif parent.startswith("norm") or parent == "out_norm":
        v = 1 + 0.1 * v
    elif parent != "map_label":
        v = v / np.sqrt(float(np.prod(shape[1:])))
    return v.astype(np.float32).reshape(shape)


def state(config: NetworkConfig, salt: str = "check/") -> dict[str, torch.Tensor]:
    """The state dict of a network of that shape, by the formula."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Denoiser(config).state_dict().items()}
    return {name: torch.from_numpy(weight(name, shape, salt)) for name, shape in shapes.items()}


def network(config: NetworkConfig, salt: str = "check/") -> Denoiser:
    """A network in evaluation mode with the formula's weights."""
    made = Denoiser(config).eval().requires_grad_(False)
    made.load_state_dict(state(config, salt))
    return made

"""What is asked of the network and on what it runs: values, so that nonsense is refused before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from imgassets.errors import BadInput
from imgassets.models.config import NetworkConfig

InputMode = Literal["dmd2", "noised", "clean"]
"""How an image x in [-1, 1] becomes the network's input at noise level sigma.

`dmd2`: x * sigma, the image in the place of the noise (meaningful at 80 only); `noised`: x + sigma * n, what the
network was trained on, n seeded per sample; `clean`: x itself, for a small sigma such as 0.002.
"""
Source = Literal["dmd2", "noised", "clean", "noise"]
"""An `InputMode`, or `noise`: sigma * n and no image at all, from which the network generates."""
Storage = Literal["full", "pooled"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Dtype = Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True)
class Extraction:
    """Which activations of which input are taken and how they are kept.

    Raises `BadInput` for a sigma that is not a positive finite number (0 gives NaN in every layer), and unknown words.
    """

    layers: tuple[str, ...] = ("encoder_bottleneck", "midblock")
    conditioning_sigma: float = 80.0
    input_mode: InputMode = "dmd2"
    batch_size: int = 64
    """Samples per `batch_NNNNNN.npz` and per forward pass."""
    seed: int = 10
    class_conditioning: bool = True
    """Whether the network is told the class; without, it gets the zero vector."""
    storage: Storage = "full"
    """`full`: (B, C*H*W) per layer; `pooled`: its mean over the pixels, (B, C)."""
    storage_dtype: Literal["float32", "float16"] = "float32"
    compressed: bool = False

    def __post_init__(self) -> None:
        sigma = self.conditioning_sigma
        if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not (math.isfinite(sigma) and sigma > 0):
            raise BadInput(f"conditioning_sigma={sigma}: a positive finite noise level is needed, such as 80")
        if self.batch_size < 1:
            raise BadInput(f"batch_size={self.batch_size}: at least 1 is needed")
        if self.seed < 0:
            raise BadInput(f"seed={self.seed}: a number from 0 up is needed")
        for name, allowed in (
            ("input_mode", get_args(InputMode)),
            ("storage", get_args(Storage)),
            ("storage_dtype", ("float32", "float16")),
        ):
            if getattr(self, name) not in allowed:
                raise BadInput(f"{name}={getattr(self, name)!r}: choose among {', '.join(allowed)}")

    def fit(self, network: NetworkConfig) -> tuple[str, ...]:
        """The layers in the order of computation; `BadInput` where the network has no such layer."""
        return network.check_layers(self.layers)


@dataclass(frozen=True)
class Compute:
    """Where and how precisely the network runs."""

    device: Device = "auto"
    """`auto`: CUDA, else Apple's MPS, else the CPU."""
    dtype: Dtype = "float32"
    """`tf32` (CUDA only): float32 with products rounded to 10 bits; `bf16`: weights and activations in bfloat16."""
    compile: bool = False
    """`torch.compile`: about a minute at the start, repaid after some thousand images on a CPU."""

    def __post_init__(self) -> None:
        if self.device not in get_args(Device):
            raise BadInput(f"device={self.device!r}: choose among {', '.join(get_args(Device))}")
        if self.dtype not in get_args(Dtype):
            raise BadInput(f"dtype={self.dtype!r}: choose among {', '.join(get_args(Dtype))}")

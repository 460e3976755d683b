"""Putting a network on a device in a precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgassets.errors import BadInput

if TYPE_CHECKING:
    import torch

    from imgassets.models.edm import Denoiser
    from imgassets.models.settings import Compute


def choose_device(compute: Compute) -> torch.device:
    """The device asked for, the best one there is for `auto`; `BadInput` where this machine does not have it."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(k for k, v in there.items() if v) if compute.device == "auto" else compute.device
    if not there[name]:
        have = ", ".join(k for k, v in there.items() if v)
        raise BadInput(f"device={name!r}: this machine has {have} only; choose one of these or 'auto'")
    if compute.dtype == "tf32" and name != "cuda":
        raise BadInput(f"dtype='tf32' exists on CUDA only, and this runs on {name}; choose float32 or bf16")
    return torch.device(name)


def place(network: Denoiser, compute: Compute) -> tuple[Denoiser, torch.device]:
    """Move the network to its device and precision, with the memory layout that is fastest there.

    Precisions of the process are set explicitly: PyTorch's own default lets convolutions on CUDA round to TF32.
    """
    import torch

    device = choose_device(compute)
    if device.type == "cuda":
        precision = "tf32" if compute.dtype == "tf32" else "ieee"
        torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = precision
        torch.backends.cudnn.deterministic = True
    network = network.to(
        device=device,
        dtype=torch.bfloat16 if compute.dtype == "bf16" else torch.float32,
        memory_format=torch.channels_last,  # type: ignore[call-overload]
    )
    if compute.compile:
        network.compile()
    return network, device


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception of PyTorch says that a device, or the host, has no memory left."""
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )

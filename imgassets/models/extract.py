"""The extraction engine: samples in, activations and images out; reading, computing and writing overlap.

A reader thread fetches the next batches and a compute thread runs the network while the caller writes the last result.
Images travel to the device as bytes and are normalised there; on CUDA results come back while the next batch computes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput, StoreError
from imgassets.models.device import out_of_memory
from imgassets.models.noise import noise
from imgassets.models.overlap import ahead
from imgassets.models.settings import Extraction, Source

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from imgassets.models.edm import Denoiser

FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class Batch:
    """A batch to run: B samples, each known by its global index and a name for messages and provenance."""

    index: NDArray[np.int64]
    """(B,): also the key of a sample's noise."""
    names: tuple[str, ...]
    class_ids: NDArray[np.int64]
    """(B,), 0..999; -1 where a sample has none."""
    images: NDArray[np.uint8] | None = None
    """(B, 3, H, W) of the network's size; None where it generates."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """By name, what a decoder complained of in images that it could decode all the same."""

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Outputs:
    """What came of a batch, by layer in the order of computation, on the host."""

    samples: Batch
    activations: dict[str, NDArray[Any]]
    """(B, C*H*W) in C order, or (B, C) where only the pooled ones are kept; float32 or float16."""
    pooled: dict[str, NDArray[np.float32]]
    """(B, C): means over the pixels."""
    absmax: dict[str, NDArray[np.float32]]
    """(B,): the largest absolute value of each sample."""
    norm: dict[str, NDArray[np.float32]]
    """(B,): L2 norm of each sample."""
    image: NDArray[np.uint8] | None
    """(B, 3, H, W): the denoised image in bytes, where it was asked for."""


@dataclass(frozen=True)
class _Pending:
    """A batch whose results are still on their way from the device."""

    samples: Batch
    parts: list[dict[str, dict[str, Tensor]]]
    arrived: torch.cuda.Event | None


class Extractor:
    """Runs a placed network over batches.

    Args:
        network: as `imgassets.models.device.place` returns it, with its device.
        settings: which layers, of which input, kept how.
        source: the settings' input mode, or `noise`.
        layers: in the order of computation; may be empty if `image` is wanted.
        image: whether to run to the end and return the denoised image.
        most: most samples computed at once, if fewer than a batch has.
    """

    def __init__(
        self,
        network: Denoiser,
        device: torch.device,
        settings: Extraction,
        *,
        source: Source | None = None,
        layers: tuple[str, ...] = (),
        image: bool = False,
        most: int | None = None,
    ) -> None:
        self.network, self.device, self.settings = network, device, settings
        self.source: Source = source or settings.input_mode
        self.layers, self.image = layers, image
        self.most = max(1, min(most or settings.batch_size, settings.batch_size))
        """Samples computed at once: halved when memory runs out. What is written together stays together."""

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Outputs]:
        """Results in the order of the batches.

        Raises:
            BadInput: an activation is not finite (names sample and layer), a class is none of the network's, or an
                image is not of its size.
            StoreError: memory does not suffice for a single sample.
        """
        return ahead(self._compute(ahead(batches)))

    def _compute(self, batches: Generator[Batch]) -> Generator[Outputs]:
        pending: _Pending | None = None
        try:
            for samples in batches:
                launched = self._launch(samples)
                if pending:
                    yield self._finish(pending)
                pending = launched
            if pending:
                yield self._finish(pending)
        finally:
            batches.close()

    def _launch(self, samples: Batch) -> _Pending:
        """Start a batch on the device, in as many parts as memory demands."""
        import torch

        self._check(samples)
        parts, start = [], 0
        while start < len(samples):
            rows = slice(start, start + self.most)
            try:
                with torch.inference_mode():
                    parts.append(self._forward(samples, rows))
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if self.most == 1:
                    raise StoreError(
                        f"{samples.names[start]}: {self.device} has too little memory for a single sample; free some, "
                        "choose another device, dtype bf16 or an earlier layer"
                    ) from error
                self.most = min(self.most, len(samples)) // 2 or 1
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            start += self.most
        arrived = None
        if self.device.type == "cuda":
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        return _Pending(samples, parts, arrived)

    def _forward(self, samples: Batch, rows: slice) -> dict[str, dict[str, Tensor]]:
        """One pass of the network over some rows of a batch, and what is kept of it, on its way to the host."""
        import torch

        config, settings = self.network.config, self.settings
        sigma = torch.tensor(float(settings.conditioning_sigma), device=self.device)
        classes = None
        if settings.class_conditioning:
            ids = torch.from_numpy(samples.class_ids[rows]).to(self.device)
            classes = torch.nn.functional.one_hot(ids, config.label_dim).to(torch.float32)
        taken, image = self.network(self._input(samples, rows, sigma), sigma, classes, self.layers, self.image)
        half = settings.storage_dtype == "float16"
        kept: dict[str, dict[str, Tensor]] = {}
        for name in self.layers:
            a = taken[name].to(torch.float32)
            pooled = a.mean(dim=(2, 3))
            wanted = pooled if settings.storage == "pooled" else a.flatten(1)
            kept[name] = {
                "activations": self._to_host(wanted.to(torch.float16) if half else wanted),
                "pooled": self._to_host(pooled),
                "absmax": self._to_host(torch.linalg.vector_norm(a, float("inf"), dim=(1, 2, 3))),
                "norm": self._to_host(torch.linalg.vector_norm(a, dim=(1, 2, 3))),
            }
        if image is not None:
            finite = image.isfinite().flatten(1).all(dim=1)
            pixels = ((image + 1) * 127.5).nan_to_num(0).clamp(0, 255).to(torch.uint8)
            kept["output"] = {"image": self._to_host(pixels), "finite": self._to_host(finite)}
        return kept

    def _input(self, samples: Batch, rows: slice, sigma: Tensor) -> Tensor:
        import torch

        size = self.network.config.img_resolution
        x = torch.zeros((), device=self.device)
        if samples.images is not None:
            x = self._to_device(samples.images[rows]).to(torch.float32) / 127.5 - 1
        if self.source in ("noised", "noise"):
            shape = (self.network.config.img_channels, size, size)
            x = x + sigma * self._to_device(noise(self.settings.seed, samples.index[rows].tolist(), shape))
        elif self.source == "dmd2":
            x = x * sigma
        return x.contiguous(memory_format=torch.channels_last)

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _to_host(self, tensor: Tensor) -> Tensor:
        import torch

        if self.device.type != "cuda":
            return tensor.contiguous().cpu()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def _check(self, samples: Batch) -> None:
        config = self.network.config
        shape = (len(samples), config.img_channels, config.img_resolution, config.img_resolution)
        if self.source != "noise" and (samples.images is None or samples.images.shape != shape):
            found = None if samples.images is None else list(samples.images.shape)
            raise BadInput(f"{samples.names[0]}: images of shape {list(shape)} were expected, found {found}")
        if self.settings.class_conditioning:
            for i in np.flatnonzero((samples.class_ids < 0) | (samples.class_ids >= config.label_dim))[:1]:
                name, number = samples.names[i], samples.class_ids[i]
                raise BadInput(f"{name}: class {number} is none of the network's {config.label_dim} classes")

    def _finish(self, pending: _Pending) -> Outputs:
        """Wait for a batch's results and check them."""
        if pending.arrived:
            pending.arrived.synchronize()
        samples = pending.samples

        def whole(name: str, kind: str) -> NDArray[Any]:
            arrays = [part[name][kind].numpy() for part in pending.parts]
            return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

        absmax = {name: whole(name, "absmax") for name in self.layers}
        for name, largest in absmax.items():
            for i in np.flatnonzero(~np.isfinite(largest))[:1]:
                raise BadInput(
                    f"{samples.names[i]}: {name} holds values that are not finite; check the checkpoint, "
                    f"conditioning_sigma ({self.settings.conditioning_sigma}) and dtype"
                )
            limit = FLOAT16_MAX if self.settings.storage_dtype == "float16" else np.inf
            for i in np.flatnonzero(largest > limit)[:1]:
                raise BadInput(
                    f"{samples.names[i]}: {name} reaches {largest[i]:.3g}, too large for storage_dtype float16"
                )
        if self.image:
            for i in np.flatnonzero(~whole("output", "finite"))[:1]:
                raise BadInput(
                    f"{samples.names[i]}: the output image holds values that are not finite; check the checkpoint"
                )
        return Outputs(
            samples,
            {name: whole(name, "activations") for name in self.layers},
            {name: whole(name, "pooled") for name in self.layers},
            absmax,
            {name: whole(name, "norm") for name in self.layers},
            whole("output", "image") if self.image else None,
        )

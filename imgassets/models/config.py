"""The shape of an EDM (ADM-type) network: its configuration, its blocks in order and the names of its layers.

Nothing here needs torch, so that a wrong layer name in a YAML file is found when the definitions load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from imgassets import documents
from imgassets.errors import BadInput

Resample = Literal["same", "down", "up"]

_TRAINING_ONLY = {"dropout", "label_dropout", "use_fp16", "sigma_min", "sigma_max"}
"""Keys of a published configuration that change nothing of a forward pass in evaluation mode."""
_FIXED: Mapping[str, object] = {"model_type": "DhariwalUNet", "augment_dim": 0}
"""Keys of a published configuration of which only this value is implemented."""


@dataclass(frozen=True)
class BlockSpec:
    """One entry of the encoder or decoder, named as in the state dict (`64x64_block0`)."""

    name: str
    cin: int
    cout: int
    resolution: int
    resample: Resample = "same"
    heads: int = 0
    pops: bool = False
    """Whether a decoder entry first appends the last of the encoder's outputs not yet used to its channels."""
    conv: bool = False
    """The first encoder entry is one convolution, not a block."""


@dataclass(frozen=True)
class NetworkConfig:
    """Configuration of the network; the defaults are the published ImageNet-64 one (296 million parameters).

    Raises `BadInput` where the numbers do not make a network (a width that its groups or heads do not divide, …).
    """

    img_resolution: int = 64
    img_channels: int = 3
    label_dim: int = 1000
    sigma_data: float = 0.5
    model_channels: int = 192
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    channel_mult_emb: int = 4
    num_blocks: int = 3
    attn_resolutions: tuple[int, ...] = (32, 16, 8)

    def __post_init__(self) -> None:
        levels = len(self.channel_mult)
        whole = {f.name: getattr(self, f.name) for f in fields(self) if f.type == "int"}
        wrong = [f"{name}={value}" for name, value in whole.items() if not isinstance(value, int) or value < 1]
        if not 0 < self.sigma_data < float("inf"):
            wrong.append(f"sigma_data={self.sigma_data}")
        if not levels or min(self.channel_mult) < 1:
            wrong.append(f"channel_mult={list(self.channel_mult)}")
        if wrong:
            raise BadInput(f"network configuration: {', '.join(wrong)}: positive numbers are needed")
        if self.img_resolution % 2 ** (levels - 1):
            raise BadInput(f"network configuration: {self.img_resolution} pixels cannot be halved {levels - 1} times")
        if self.model_channels % 2:
            raise BadInput(f"network configuration: model_channels={self.model_channels} must be even")
        for entry in (*self.encoder, *self.decoder):
            for width in {entry.cin, entry.cout} if not entry.conv else {entry.cout}:
                if width < 4 or width % norm_groups(width):
                    raise BadInput(f"network configuration: {width} channels in {entry.name} do not split into groups")
            if entry.heads and entry.cout % entry.heads:
                raise BadInput(f"network configuration: {entry.cout} channels in {entry.name} do not split into heads")

    @property
    def emb_channels(self) -> int:
        return self.model_channels * self.channel_mult_emb

    @cached_property
    def encoder(self) -> tuple[BlockSpec, ...]:
        """The encoder's entries in order; the output of each is kept for the decoder."""
        size, width = self.img_resolution, self.model_channels * self.channel_mult[0]
        entries = [BlockSpec(f"{size}x{size}_conv", self.img_channels, width, size, conv=True)]
        for level, mult in enumerate(self.channel_mult):
            if level:
                size //= 2
                entries.append(BlockSpec(f"{size}x{size}_down", width, width, size, "down"))
            for i in range(self.num_blocks):
                cin, width = width, self.model_channels * mult
                entries.append(BlockSpec(f"{size}x{size}_block{i}", cin, width, size, heads=self._heads(width, size)))
        return tuple(entries)

    @cached_property
    def decoder(self) -> tuple[BlockSpec, ...]:
        """The decoder's entries in order, from the smallest resolution up."""
        size, width = self.encoder[-1].resolution, self.encoder[-1].cout
        kept = [entry.cout for entry in self.encoder]
        entries = [
            BlockSpec(f"{size}x{size}_in0", width, width, size, heads=max(1, width // 64)),
            BlockSpec(f"{size}x{size}_in1", width, width, size),
        ]
        for level, mult in reversed(list(enumerate(self.channel_mult))):
            if level < len(self.channel_mult) - 1:
                size *= 2
                entries.append(BlockSpec(f"{size}x{size}_up", width, width, size, "up"))
            for i in range(self.num_blocks + 1):
                cin, width = width + kept.pop(), self.model_channels * mult
                heads = self._heads(width, size)
                entries.append(BlockSpec(f"{size}x{size}_block{i}", cin, width, size, heads=heads, pops=True))
        return tuple(entries)

    def _heads(self, width: int, size: int) -> int:
        return max(1, width // 64) if size in self.attn_resolutions else 0

    @cached_property
    def layers(self) -> dict[str, BlockSpec]:
        """Layer name -> entry whose output it is, in the order of computation.

        `encoder_block_0` …, `encoder_bottleneck` (the encoder's last), `midblock` (the decoder's first),
        `decoder_block_1` …: the names of the DMD2 visualizer.
        """
        last = len(self.encoder) - 1
        named = {"encoder_bottleneck" if i == last else f"encoder_block_{i}": e for i, e in enumerate(self.encoder)}
        named |= {"midblock" if i == 0 else f"decoder_block_{i}": e for i, e in enumerate(self.decoder)}
        return named

    def layer_shape(self, layer: str) -> tuple[int, int, int]:
        """(channels, height, width) of a layer's output for one image."""
        entry = self.layers[layer]
        return entry.cout, entry.resolution, entry.resolution

    def check_layers(self, layers: Iterable[str]) -> tuple[str, ...]:
        """The layers in the order of computation; `BadInput` if one is unknown or repeated, or none is given."""
        asked = list(layers)
        for layer in asked:
            if layer not in self.layers:
                n, m = len(self.encoder) - 2, len(self.decoder) - 1
                raise BadInput(
                    f"unknown layer {layer!r}: choose among encoder_block_0 to encoder_block_{n}, encoder_bottleneck, "
                    f"midblock, decoder_block_1 to decoder_block_{m}"
                )
        if not asked or len(set(asked)) != len(asked):
            raise BadInput(f"layers {asked}: name at least one, each once")
        return tuple(name for name in self.layers if name in asked)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, as `from_dict` reads them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "network configuration") -> NetworkConfig:
        """Read the keys of a published configuration; `BadInput` names one that is unknown or not implemented."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known - _TRAINING_ONLY - set(_FIXED)):
            raise BadInput(
                f"{where}: unknown key {', '.join(map(repr, unknown))}; known are {', '.join(sorted(known))}"
            )
        for key, only in _FIXED.items():
            if values.get(key, only) != only:
                raise BadInput(f"{where}: {key}={values[key]!r} is not implemented, only {only!r}")
        chosen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        try:
            return cls(**chosen)
        except TypeError as error:
            raise BadInput(f"{where}: {error}") from error

    @classmethod
    def load(cls, path: Path) -> NetworkConfig:
        """Read a `network.json`; its missing keys keep the published values."""
        try:
            values = documents.parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: not a readable JSON configuration of a network ({error})") from error
        if not isinstance(values, dict):
            raise BadInput(f"{path}: a JSON object with the network's configuration was expected")
        return cls.from_dict(values, str(path))


def norm_groups(channels: int) -> int:
    """Groups of every GroupNorm: 32, and at least four channels in each."""
    return min(32, channels // 4)

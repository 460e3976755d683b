"""The EDM ImageNet-64 denoiser (Karras et al. 2022, arXiv:2206.00364, with the ADM U-Net of Dhariwal and Nichol 2021).

Names and shapes of the state dict are those of the published checkpoints, so EDM and DMD2 weights load unchanged.
Evaluation only: no dropout, no initialisation worth training from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch  # noqa: TID253 - the network is torch code; nothing imports this module while definitions load
import torch.nn.functional as F  # noqa: N812, TID253
from torch import Tensor, nn  # noqa: TID253

from imgassets.models.config import BlockSpec, NetworkConfig, Resample, norm_groups


def resample(x: Tensor, how: Resample) -> Tensor:
    """Halve by the mean of 2x2 pixels, double by repeating pixels, or leave as is."""
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2.0, mode="nearest") if how == "up" else x


class GroupNorm(nn.GroupNorm):
    """Group normalisation with the family's group count and eps 1e-5."""

    def __init__(self, channels: int) -> None:
        super().__init__(norm_groups(channels), channels, eps=1e-5)


class ResampleFilter(nn.Module):
    """The shortcut of a resampling block: no weights, only the published filter, kept for the state dict's sake."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))


class ResampledConv(nn.Conv2d):
    """A 3x3 convolution that follows a resampling; it carries the published filter in its state."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(cin, cout, 3, padding=1)
        self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))


class Block(nn.Module):
    """Residual block: two 3x3 convolutions modulated by the embedding, then self-attention where it has heads."""

    def __init__(self, entry: BlockSpec, emb_channels: int) -> None:
        super().__init__()
        cin, cout, self.heads, self.how = entry.cin, entry.cout, entry.heads, entry.resample
        resamples = self.how != "same"
        self.norm0 = GroupNorm(cin)
        self.conv0 = ResampledConv(cin, cout) if resamples else nn.Conv2d(cin, cout, 3, padding=1)
        self.affine = nn.Linear(emb_channels, 2 * cout)
        self.norm1 = GroupNorm(cout)
        self.conv1 = nn.Conv2d(cout, cout, 3, padding=1)
        self.skip: nn.Module | None = None
        if resamples:
            self.skip = ResampleFilter()
        elif cin != cout:
            self.skip = nn.Conv2d(cin, cout, 1)
        if self.heads:
            self.norm2 = GroupNorm(cout)
            self.qkv = nn.Conv2d(cout, 3 * cout, 1)
            self.proj = nn.Conv2d(cout, cout, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(B, cin, H, W) and the embedding (B, emb) -> (B, cout, H', W')."""
        h = self.conv0(resample(F.silu(self.norm0(x), inplace=True), self.how))
        scale, shift = self.affine(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(torch.addcmul(shift, self.norm1(h), scale + 1), inplace=True))
        x = h + (self.skip(x) if isinstance(self.skip, nn.Conv2d) else resample(x, self.how))
        return x + self.attend(x) if self.heads else x

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention over the pixels; the channels of `qkv` are ordered head, channel, then q, k, v."""
        b, c, height, width = x.shape
        qkv = self.qkv(self.norm2(x)).reshape(b, self.heads, c // self.heads, 3, height * width)
        # the fused kernels want each of q, k, v with a pixel's numbers side by side; else they fall back to a slow one
        q, k, v = qkv.permute(3, 0, 1, 4, 2).contiguous()
        a = F.scaled_dot_product_attention(q, k, v)
        y: Tensor = self.proj(a.transpose(-1, -2).reshape(b, c, height, width))
        return y


class UNet(nn.Module):
    """The raw network F: scaled image, noise level and class in, the denoiser's residual out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        ch, emb = config.model_channels, config.emb_channels
        self.map_layer0 = nn.Linear(ch, emb)
        self.map_layer1 = nn.Linear(emb, emb)
        self.map_label = nn.Linear(config.label_dim, emb, bias=False)
        self.enc = nn.ModuleDict({e.name: self._entry(e) for e in config.encoder})
        self.dec = nn.ModuleDict({e.name: self._entry(e) for e in config.decoder})
        self.out_norm = GroupNorm(config.decoder[-1].cout)
        self.out_conv = nn.Conv2d(config.decoder[-1].cout, config.img_channels, 3, padding=1)

    def _entry(self, entry: BlockSpec) -> nn.Module:
        if entry.conv:
            return nn.Conv2d(entry.cin, entry.cout, 3, padding=1)
        return Block(entry, self.config.emb_channels)

    def embed(self, c_noise: Tensor, onehot: Tensor) -> Tensor:
        """Noise level (B,) and class vector (B or 1, labels) -> embedding (B, emb); cosines first, then sines."""
        half = self.config.model_channels // 2
        steps = torch.arange(half, dtype=torch.float32, device=c_noise.device)
        angles = c_noise[:, None] * (1.0 / 10000) ** (steps / half)
        dtype = self.map_layer0.weight.dtype
        e = torch.cat([angles.cos(), angles.sin()], dim=1).to(dtype)
        e = self.map_layer1(F.silu(self.map_layer0(e))) + self.map_label(onehot.to(dtype))
        return F.silu(e)

    def forward(
        self, x: Tensor, c_noise: Tensor, onehot: Tensor, layers: Sequence[str], output: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Collect `layers`; stop after the last of them unless `output` is wanted too."""
        emb = self.embed(c_noise, onehot)
        wanted, taken = set(layers), dict[str, Tensor]()
        kept: list[Tensor] = []
        modules = (*self.enc.values(), *self.dec.values())
        for i, ((name, entry), module) in enumerate(zip(self.config.layers.items(), modules, strict=True)):
            if entry.pops:
                x = torch.cat([x, kept.pop()], dim=1)
            x = module(x) if entry.conv else module(x, emb)
            if i < len(self.enc):
                kept.append(x)
            if name in wanted:
                taken[name] = x
            if len(taken) == len(wanted) and not output:
                return taken, None
        result: Tensor = self.out_conv(F.silu(self.out_norm(x), inplace=True))
        return taken, result


class Denoiser(nn.Module):
    """The preconditioned denoiser D(x; sigma, class) = c_skip x + c_out F(c_in x; c_noise, class), of EDM's table 1."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.model = UNet(config)

    def forward(
        self, x: Tensor, sigma: Tensor, onehot: Tensor | None, layers: Sequence[str] = (), output: bool = True
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Run the network up to the deepest thing asked for.

        `x` (B, 3, H, W) float32 is the noisy image, `sigma` (B,) or () float32 > 0 its noise level, `onehot`
        (B, labels) the class (None: no class). Returns the outputs of `layers`, in the network's dtype, shaped as
        `NetworkConfig.layer_shape` says, and, if `output`, the denoised image (B, 3, H, W) float32.
        """
        data = self.config.sigma_data
        sigma = sigma.to(torch.float32).expand(len(x))
        s = sigma[:, None, None, None]
        norm = s.square() + data**2
        if onehot is None:
            onehot = torch.zeros(1, self.config.label_dim, device=x.device)
        x_in = (x * norm.rsqrt()).to(self.model.out_conv.weight.dtype)
        taken, residual = self.model(x_in, sigma.log() / 4, onehot, layers, output)
        if residual is None:
            return taken, None
        return taken, x * (data**2 / norm) + residual.to(torch.float32) * (s * data * norm.rsqrt())

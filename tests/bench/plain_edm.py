"""The network as one would write it down first: what `bench_activations` compares with. Same keys, no shortcuts."""

from __future__ import annotations

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from imgassets.models.config import BlockSpec, NetworkConfig


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-5)


class PlainBlock(nn.Module):
    """A residual block with attention spelled out in matrix products."""

    def __init__(self, entry: BlockSpec, emb: int) -> None:
        super().__init__()
        cin, cout, self.entry = entry.cin, entry.cout, entry
        self.norm0, self.conv0 = norm(cin), nn.Conv2d(cin, cout, 3, padding=1)
        self.affine = nn.Linear(emb, 2 * cout)
        self.norm1, self.conv1 = norm(cout), nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout else None
        if entry.heads:
            self.norm2, self.qkv, self.proj = norm(cout), nn.Conv2d(cout, 3 * cout, 1), nn.Conv2d(cout, cout, 1)

    def resample(self, x: Tensor) -> Tensor:
        box = torch.full((x.shape[1], 1, 2, 2), 0.25, dtype=x.dtype, device=x.device)
        if self.entry.resample == "down":
            return F.conv2d(x, box, stride=2, groups=x.shape[1])
        if self.entry.resample == "up":
            return F.conv_transpose2d(x, box * 4, stride=2, groups=x.shape[1])
        return x

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(self.resample(F.silu(self.norm0(x))))
        scale, shift = self.affine(emb)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(self.norm1(h) * (scale + 1) + shift))
        x = self.resample(x)
        x = h + (self.skip(x) if self.skip else x)
        if self.entry.heads:
            b, c, height, width = x.shape
            heads = self.entry.heads
            q, k, v = self.qkv(self.norm2(x)).reshape(b * heads, c // heads, 3, -1).unbind(2)
            a = torch.einsum("ncq,nck->nqk", q, k / (c // heads) ** 0.5).softmax(2)
            x = self.proj(torch.einsum("nqk,nck->ncq", a, v).reshape(b, c, height, width)) + x
        return x


class PlainDenoiser(nn.Module):
    """The whole network with a hook on every layer that is asked for; it always runs to the end."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        ch, emb = config.model_channels, config.emb_channels
        model = nn.Module()
        model.map_layer0, model.map_layer1 = nn.Linear(ch, emb), nn.Linear(emb, emb)
        model.map_label = nn.Linear(config.label_dim, emb, bias=False)

        def make(entry: BlockSpec) -> nn.Module:
            return nn.Conv2d(entry.cin, entry.cout, 3, padding=1) if entry.conv else PlainBlock(entry, emb)

        model.enc = nn.ModuleDict({e.name: make(e) for e in config.encoder})
        model.dec = nn.ModuleDict({e.name: make(e) for e in config.decoder})
        model.out_norm = norm(config.decoder[-1].cout)
        model.out_conv = nn.Conv2d(config.decoder[-1].cout, config.img_channels, 3, padding=1)
        self.model = model

    def forward(
        self, x: Tensor, sigma: Tensor, onehot: Tensor, layers: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], Tensor]:
        m, data = self.model, self.config.sigma_data
        modules = dict(zip(self.config.layers, [*m.enc.values(), *m.dec.values()], strict=True))
        taken: dict[str, Tensor] = {}
        hooks = [
            modules[name].register_forward_hook(lambda _m, _i, out, name=name: taken.update({name: out}))
            for name in layers
        ]
        s = sigma.reshape(-1, 1, 1, 1)
        h = x / (s**2 + data**2).sqrt()
        half = self.config.model_channels // 2
        angles = (s.flatten().log() / 4)[:, None] * (1 / 10000) ** (torch.arange(half) / half)
        emb = torch.cat([angles.cos(), angles.sin()], 1)
        emb = m.map_layer1(F.silu(m.map_layer0(emb)))
        emb = F.silu(emb + m.map_label(onehot))
        kept = []
        for entry, module in zip(self.config.encoder, m.enc.values(), strict=True):
            h = module(h) if entry.conv else module(h, emb)
            kept.append(h)
        for entry, module in zip(self.config.decoder, m.dec.values(), strict=True):
            h = module(torch.cat([h, kept.pop()], 1) if entry.pops else h, emb)
        h = m.out_conv(F.silu(m.out_norm(h)))
        for hook in hooks:
            hook.remove()
        return taken, x * data**2 / (s**2 + data**2) + h * s * data / (s**2 + data**2).sqrt()

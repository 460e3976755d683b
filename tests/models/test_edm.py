import numpy as np
import pytest
import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253
from torch import nn  # noqa: TID253

from imgassets.models import config as config_module
from imgassets.models import edm
from imgassets.models.config import NetworkConfig
from imgassets.models.edm import Denoiser
from tests.models.networks import SMALL, network, uniform, weight

TABLE = """
encoder_block_0 2.140356e+02 -1.331046e-02  encoder_block_1 3.725852e+02 1.139476e-01
encoder_block_2 1.870428e+02 1.140431e-01   encoder_block_3 3.607382e+02 -7.767447e-02
encoder_block_4 1.984481e+02 -1.450689e-01  encoder_block_5 3.261022e+02 -1.426623e-01
encoder_block_6 1.735793e+02 1.334896e-02   encoder_bottleneck 2.149412e+02 1.489337e-01
midblock 2.349951e+02 1.554428e-01          decoder_block_1 2.393551e+02 2.126138e-01
decoder_block_2 2.339605e+02 -4.880664e-02  decoder_block_3 2.418649e+02 -1.433396e-01
decoder_block_4 5.140135e+02 -1.181311e-01  decoder_block_5 4.286280e+02 5.577694e-02
decoder_block_6 4.067456e+02 -2.861732e-01  decoder_block_7 8.827508e+02 -2.603000e-01
decoder_block_8 6.240341e+02 1.549758e-01   decoder_block_9 6.257597e+02 1.095845e-01
decoder_block_10 1.352555e+03 2.774351e-02  decoder_block_11 9.134136e+02 -2.137104e-01
decoder_block_12 7.198522e+02 -3.233939e-02 output 2.364421e+01 4.468450e-02
"""
PUBLISHED = TABLE.split()
EXPECTED = {PUBLISHED[i]: (float(PUBLISHED[i + 1]), float(PUBLISHED[i + 2])) for i in range(0, len(PUBLISHED), 3)}
"""L2 norm and mean of each layer of the small network for one image, computed by another implementation in float32."""

LAYERS = tuple(SMALL.layers)


def image() -> torch.Tensor:
    x = (2 * uniform("check/input", 3 * 64 * 64) - 1).astype(np.float32)
    return torch.from_numpy(x.reshape(1, 3, 64, 64)) * 80


def run(net: Denoiser, layers: tuple[str, ...] = LAYERS, output: bool = True) -> dict[str, torch.Tensor]:
    onehot = F.one_hot(torch.tensor([278]), 1000).float()
    with torch.inference_mode():
        taken, out = net(image(), torch.tensor(80.0), onehot, layers, output)
    return taken if out is None else taken | {"output": out}


def misses(outputs: dict[str, torch.Tensor], tolerance: float = 2e-5) -> list[str]:
    """Layers whose norm or mean is further than `tolerance` from what is expected."""
    wrong = []
    for name, (norm, mean) in EXPECTED.items():
        a = outputs[name].double()
        rms = norm / a.numel() ** 0.5
        if abs(a.norm().item() - norm) > tolerance * norm or abs(a.mean().item() - mean) > tolerance * rms:
            wrong.append(name)
    return wrong


def test_formula_gives_the_published_first_values() -> None:
    def first(name: str, shape: tuple[int, ...], count: int) -> list[float]:
        return weight(name, shape, "").ravel()[:count].tolist()

    assert first("model.map_layer0.weight", (768, 192), 3) == pytest.approx([0.04259285, 0.12026832, 0.06528831], 1e-6)
    assert first("model.enc.64x64_conv.weight", (192, 3, 3, 3), 2) == pytest.approx([-0.20075558, 0.2242731], 1e-6)
    assert first("model.out_conv.bias", (3,), 1) == pytest.approx([0.11171581], 1e-6)


def test_every_layer_agrees_with_another_implementation() -> None:
    assert set(LAYERS) | {"output"} == set(EXPECTED)
    outputs = run(network(SMALL))
    assert misses(outputs) == []
    for name in LAYERS:
        assert tuple(outputs[name].shape[1:]) == SMALL.layer_shape(name)


class Swapped(edm.UNet):
    def embed(self, c_noise: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        half = self.config.model_channels // 2
        angles = c_noise[:, None] * (1.0 / 10000) ** (torch.arange(half) / half)
        e = torch.cat([angles.sin(), angles.cos()], dim=1)
        return F.silu(self.map_layer1(F.silu(self.map_layer0(e))) + self.map_label(onehot))


def bilinear(x: torch.Tensor, how: str) -> torch.Tensor:
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2.0, mode="bilinear") if how == "up" else x


def norm_with_large_eps(self: nn.GroupNorm, channels: int) -> None:
    nn.GroupNorm.__init__(self, config_module.norm_groups(channels), channels, eps=1e-3)


def attend_qkv_major(self: edm.Block, x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    q, k, v = self.qkv(self.norm2(x)).reshape(b, 3, self.heads, c // self.heads, h * w).unbind(1)
    a = F.scaled_dot_product_attention(q.mT, k.mT, v.mT)
    return self.proj(a.mT.reshape(b, c, h, w))


@pytest.mark.parametrize(
    ("where", "name", "mutant"),
    [
        (edm, "norm_groups", lambda channels: max(1, channels // 16)),
        (edm.GroupNorm, "__init__", norm_with_large_eps),
        (edm, "resample", bilinear),
        (edm, "UNet", Swapped),
        (edm.Block, "attend", attend_qkv_major),
    ],
    ids=["groups", "eps", "bilinear", "sin before cos", "qkv major"],
)
def test_a_wrong_network_is_noticed(monkeypatch: pytest.MonkeyPatch, where: object, name: str, mutant: object) -> None:
    monkeypatch.setattr(where, name, mutant)
    assert misses(run(network(SMALL)))


def test_stops_at_the_deepest_layer_and_computes_the_same_there() -> None:
    net = network(SMALL)
    whole = run(net)
    beyond = net.model.dec["8x8_in1"]
    beyond.forward = lambda *_: pytest.fail("a block behind the midblock ran")  # type: ignore[method-assign]
    stopped = run(net, ("encoder_bottleneck", "midblock"), output=False)
    assert set(stopped) == {"encoder_bottleneck", "midblock"}
    for name, value in stopped.items():
        assert torch.equal(value, whole[name])


def test_sigma_may_differ_per_sample_and_the_class_may_be_missing() -> None:
    net = network(SMALL)
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([80.0, 0.5, 0.002])
    with torch.inference_mode():
        _, together = net(x * sigma[:, None, None, None], sigma, None)
        _, zeros = net(x * sigma[:, None, None, None], sigma, torch.zeros(3, 1000))
        for i in range(3):
            _, alone = net(x[i : i + 1] * sigma[i], sigma[i], None)
            assert torch.allclose(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(together, zeros)


def test_bfloat16_stays_within_its_precision() -> None:
    exact = run(network(SMALL))
    rough = run(network(SMALL).to(torch.bfloat16).to(memory_format=torch.channels_last))
    for name, value in exact.items():
        assert (rough[name].float() - value).norm() / value.norm() < 4e-2


def spec_of_published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the ImageNet-64 checkpoint, spelled out from its description rather than from the code."""
    emb, shapes = 768, dict[str, tuple[int, ...]]()

    def add(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f"model.{name}.weight"] = shape
        if bias:
            shapes[f"model.{name}.bias"] = shape[:1]

    def block(name: str, cin: int, cout: int, attention: bool = False, resampled: bool = False) -> None:
        add(f"{name}.norm0", cin)
        add(f"{name}.conv0", cout, cin, 3, 3)
        add(f"{name}.affine", 2 * cout, emb)
        add(f"{name}.norm1", cout)
        add(f"{name}.conv1", cout, cout, 3, 3)
        if resampled:
            shapes[f"model.{name}.conv0.resample_filter"] = shapes[f"model.{name}.skip.resample_filter"] = (1, 1, 2, 2)
        elif cin != cout:
            add(f"{name}.skip", cout, cin, 1, 1)
        if attention:
            add(f"{name}.norm2", cout)
            add(f"{name}.qkv", 3 * cout, cout, 1, 1)
            add(f"{name}.proj", cout, cout, 1, 1)

    add("map_layer0", emb, 192)
    add("map_layer1", emb, emb)
    add("map_label", emb, 1000, bias=False)
    add("enc.64x64_conv", 192, 3, 3, 3)
    for size, before, width in ((64, 192, 192), (32, 192, 384), (16, 384, 576), (8, 576, 768)):
        if size < 64:
            block(f"enc.{size}x{size}_down", before, before, resampled=True)
        for i in range(3):
            block(f"enc.{size}x{size}_block{i}", before if i == 0 else width, width, attention=size < 64)
    block("dec.8x8_in0", 768, 768, attention=True)
    block("dec.8x8_in1", 768, 768)
    inputs = {
        8: (1536, 1536, 1536, 1344),
        16: (1344, 1152, 1152, 960),
        32: (960, 768, 768, 576),
        64: (576, 384, 384, 384),
    }
    for size, before, width in ((8, 768, 768), (16, 768, 576), (32, 576, 384), (64, 384, 192)):
        if size > 8:
            block(f"dec.{size}x{size}_up", before, before, resampled=True)
        for i, cin in enumerate(inputs[size]):
            block(f"dec.{size}x{size}_block{i}", cin, width, attention=size < 64)
    add("out_norm", 192)
    add("out_conv", 3, 192, 3, 3)
    return shapes


def trained_numbers(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_published_configuration_has_the_published_keys() -> None:
    with torch.device("meta"):
        net = Denoiser(NetworkConfig())
    found = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert found == spec_of_published()
    assert (len(found), trained_numbers(net)) == (553, 295_899_267)
    assert trained_numbers(network(SMALL)) == 4_652_099

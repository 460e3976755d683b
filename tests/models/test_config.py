import json
import subprocess
import sys
from pathlib import Path

import pytest

from imgassets.errors import BadInput
from imgassets.models.config import NetworkConfig

CONFIG = NetworkConfig()


def test_layers_are_the_visualizers() -> None:
    names = list(CONFIG.layers)
    assert names[:15] == [f"encoder_block_{i}" for i in range(15)]
    assert names[15:17] == ["encoder_bottleneck", "midblock"]
    assert names[17:] == [f"decoder_block_{i}" for i in range(1, 21)]
    assert CONFIG.layers["encoder_bottleneck"].name == "8x8_block2"
    assert CONFIG.layers["midblock"].name == "8x8_in0"


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("encoder_block_3", (192, 64, 64)),
        ("encoder_block_4", (192, 32, 32)),
        ("encoder_block_7", (384, 32, 32)),
        ("encoder_block_11", (576, 16, 16)),
        ("midblock", (768, 8, 8)),
        ("decoder_block_6", (768, 16, 16)),
        ("decoder_block_10", (576, 16, 16)),
        ("decoder_block_11", (576, 32, 32)),
        ("decoder_block_16", (384, 64, 64)),
        ("decoder_block_20", (192, 64, 64)),
    ],
)
def test_layer_shapes(layer: str, shape: tuple[int, int, int]) -> None:
    assert CONFIG.layer_shape(layer) == shape


def test_heads_are_of_64_channels() -> None:
    heads = {entry.name: entry.heads for entry in (*CONFIG.encoder, *CONFIG.decoder)}
    assert heads["32x32_block0"] == 6
    assert heads["16x16_block2"] == 9
    assert heads["8x8_in0"] == 12
    assert heads["8x8_in1"] == heads["8x8_down"] == heads["64x64_block3"] == 0


@pytest.mark.parametrize("layers", [["encoder_block_15"], ["decoder_block_0"], ["Midblock"], [], ["midblock"] * 2])
def test_layers_that_do_not_exist_are_refused(layers: list[str]) -> None:
    with pytest.raises(BadInput, match="layer"):
        CONFIG.check_layers(layers)


def test_layers_come_in_the_order_of_computation() -> None:
    assert CONFIG.check_layers(["midblock", "encoder_block_3"]) == ("encoder_block_3", "midblock")


def test_a_published_configuration_is_read(tmp_path: Path) -> None:
    values = {"model_type": "DhariwalUNet", "augment_dim": 0, "sigma_max": "inf", "model_channels": 32, "num_blocks": 1}
    path = tmp_path / "network.json"
    path.write_text(json.dumps(values | {"channel_mult": [1, 2, 3, 4]}))
    assert NetworkConfig.load(path) == NetworkConfig(model_channels=32, num_blocks=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable JSON"),
        ("[1]", "a JSON object"),
        ('{"augment_dim": 9}', "augment_dim=9 is not implemented"),
        ('{"model_type": "SongUNet"}', "SongUNet"),
        ('{"modelchannels": 9}', "unknown key 'modelchannels'"),
        ('{"model_channels": 0}', "model_channels=0"),
        ('{"model_channels": "32"}', "model_channels"),
        ('{"model_channels": 34}', "do not split into groups"),
        ('{"img_resolution": 20}', "cannot be halved"),
        ('{"sigma_data": 0}', "sigma_data=0"),
    ],
)
def test_a_configuration_that_makes_no_network_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "network.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        NetworkConfig.load(path)


def test_layer_names_are_known_without_torch() -> None:
    code = "import sys, imgassets.models.config, imgassets.models.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""A setting at its default is not in a recipe: whoever changed a default would change what finished artifacts say."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from imgassets.components.ct.volumes import SHARD_DEFAULTS
from imgassets.operations.selection import graph
from tests.operations.conftest import Home

STORE = {"images_per_file": None, "on_error": "fail", "layout": "own"}
NETWORK = {
    "conditioning_sigma": 80.0,
    "input_mode": "dmd2",
    "seed": 10,
    "batch_size": 64,
    "class_conditioning": True,
    "dtype": "float32",
    "compile": False,
    "weights": "",
    "network": {
        "img_resolution": 64,
        "img_channels": 3,
        "label_dim": 1000,
        "sigma_data": 0.5,
        "model_channels": 192,
        "channel_mult": [1, 2, 3, 4],
        "channel_mult_emb": 4,
        "num_blocks": 3,
        "attn_resolutions": [32, 16, 8],
    },
}
KEPT = {
    "layers": ["encoder_bottleneck", "midblock"],
    "storage": "full",
    "storage_dtype": "float32",
    "compressed": False,
}
RULE = {
    "num_samples": None,
    "seed": 10,
    "classes": [],
    "balanced": False,
    "percentile": [0.0, 100.0],
    "score": None,
}
NUMBERED = {"class_order": "natural", "class_names": None}
DEFAULTS: dict[str, dict[str, Any]] = {
    "imagenet64/npz_index": {"resolution": 64},
    "imagenet64/arrays": {},
    "imagenet64/csv_sample": {"csv_size_gb": 2.0, "seed": 0, "binary_block": False},
    "imagenet64/memmap_store": STORE,
    "imagenet64/parquet_store": STORE | {"compression": "none"},
    "ilsvrc2012/tar_index": {"verify_md5": False},
    "ilsvrc2012/tfrecords": {"spread": "chunks", "seed": 0},
    "ilsvrc2012/ipc_store": STORE | {"size": None, "mode": "RGB"},
    "mini/tar_store": STORE | {"size": None, "mode": "RGB", "upright": False, "classes": "folders", **NUMBERED},
    "dmd2/activations": NETWORK | KEPT | {"selection": RULE, "enlarge": None},
    "dmd2/reconstructions": NETWORK | {"selection": RULE, "enlarge": None, "single_files": False},
    "dmd2/generated": NETWORK | KEPT | {"classes": []},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_never_changes(sampled: Home, name: str) -> None:
    with dg.DagsterInstance.get() as instance:
        asset = graph().assets[dg.AssetKey(name.split("/"))]
        build = graph().builds(asset, instance).build(asset.keys(instance)[0])
    assert build.defaults == DEFAULTS[name]


def test_the_defaults_of_ct_shards_never_change() -> None:
    assert SHARD_DEFAULTS == {
        "shape": [480, 480, 240],
        "device": "cpu",
        "members": "guide",
        "rescale": "header",
        "spacing_source": "csv",
        "hu_clip": [-1000.0, 1000.0],
        "target_spacing_xyz": [0.75, 0.75, 1.5],
        "divisor": 1000.0,
        "pad_value": -1.0,
    }

"""The folders of the DMD2 visualizer, read as its own scripts read them."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from imgassets.errors import MissingUpstream
from imgassets.io.artifacts import Artifacts
from imgassets.operations.selection import Asset
from imgassets.operations.view import view
from tests.components.network.making import CHUNK, ROWS, NetworkGraph, network_graph, raw_images

TRAIN = [name for name in ROWS if name != "val_data"]


def asset(graph: NetworkGraph, name: str) -> Asset:
    key = dg.AssetKey(["dmd2", name])
    definition = graph.defs.resolve_assets_def(key)
    assert definition.partitions_def is not None
    resources = graph.defs.resources or {}
    manager = resources[definition.get_io_manager_key_for_asset_key(key)]
    return Asset(key, definition.partitions_def, 128, manager, definition)


def test_outside_of_a_run_an_asset_says_what_it_would_build(tmp_path: Path) -> None:
    with network_graph(tmp_path, batch_size=4) as graph:
        assert graph.run("activations", TRAIN[0]).success
        activations = asset(graph, "activations")
        inputs = {
            name: Artifacts(TRAIN, lambda key, upstream=upstream: graph.data.artifact(upstream, key))  # type: ignore[misc]
            for name, upstream in (("index", "npz_index"), ("pixels", "arrays"))
        }
        resources = {"storage": graph.data.storage, "device": graph.device}
        build = activations.builds(resources, inputs, {}).build(TRAIN[0])
        manifest = activations.artifact(TRAIN[0]).manifest
        made = manifest.recipe
        assert build.config == manifest.settings
        assert build.recipe(made.artifact, made.partition, made.format, made.code_version) == made


def test_the_guides_tree(tmp_path: Path) -> None:
    with network_graph(tmp_path, batch_size=4) as graph:
        activations = asset(graph, "activations")
        tree = tmp_path / "data"
        with pytest.raises(MissingUpstream):
            view(activations, TRAIN, tree)
        assert graph.run("activations").success
        view(activations, TRAIN, tree)
        info = json.loads((tree / "metadata/imagenet_real/dataset_info.json").read_text(encoding="utf-8"))
        assert {sample["image_path"] for sample in info["samples"]} == {None}

        assert graph.run("reconstructions").success
        view(activations, TRAIN, tree)
        info = json.loads((tree / "metadata/imagenet_real/dataset_info.json").read_text(encoding="utf-8"))
        pixels = raw_images(Path(graph.data.storage.raw), *TRAIN)
        assert (info["num_samples"], info["split"], info["conditioning_sigma"]) == (len(pixels), "train", 80)
        assert info["class_labels"]["0"] == ["n01440764", "tench"]
        samples = graph.samples()
        for i, sample in enumerate(info["samples"]):
            assert sample["original_path"] == f"npz_sample_{i}"
            assert sample["sample_id"] == f"sample_{i:06d}"
            assert sample["class_label"] == samples[i]["class_id"]
            with np.load(tree / f"{sample['activation_path']}.npz", allow_pickle=False) as batch:
                np.testing.assert_array_equal(batch["midblock"][sample["batch_index"]], samples[i]["midblock"])
            picture = np.asarray(Image.open(tree / sample["image_path"]))
            np.testing.assert_array_equal(picture, pixels[i].transpose(1, 2, 0))
            assert (tree / sample["reconstructed_path"]).is_file()
        batches = sorted(path.name for path in (tree / "activations/imagenet_real").glob("*.npz"))
        assert batches == [f"batch_{i:06d}.npz" for i in range(6)]  # 7, 5 and 6 rows by four

        assert graph.run("generated").success
        view(asset(graph, "generated"), ["0", "1"], tree)
        info = json.loads((tree / "metadata/imagenet/dataset_info.json").read_text(encoding="utf-8"))
        assert info["num_samples"] == 2 * CHUNK
        assert (tree / info["samples"][-1]["image_path"]).is_file()
        assert info["samples"][-1]["reconstructed_path"] is None


def test_pictures_of_one_name_stay_in_their_folders(tmp_path: Path) -> None:
    with network_graph(tmp_path, batch_size=4) as graph:
        assert graph.run("reconstructions", "val_data", single_files=True).success
        reconstructions = asset(graph, "reconstructions")
        folder = reconstructions.artifact("val_data").location.path
        view(reconstructions, ["val_data"], tmp_path / "view")
        for pictures in ("images", "reconstructed"):
            names = sorted(path.name for path in (folder / pictures).iterdir())
            assert names == sorted(path.name for path in (tmp_path / "view" / pictures).iterdir())
            assert (tmp_path / "view" / pictures / names[0]).resolve() == (folder / pictures / names[0]).resolve()

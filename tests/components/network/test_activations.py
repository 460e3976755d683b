"""The network's assets end to end in this process, judged by the network called directly and by a class table."""

from __future__ import annotations

import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import torch  # noqa: TID253

from imgassets.components import Activations
from imgassets.components.network.activations import POOL
from imgassets.components.network.run import NetworkRun
from imgassets.errors import LIMIT, BadInput
from imgassets.formats.png_tar import read_pngs
from imgassets.models.selection import Selection, select
from tests.components.network.making import CHUNK, ROWS, NetworkGraph, network_graph, raw_images
from tests.components.npz.test_images import class_table
from tests.models.networks import TINY, network, state

TRAIN = [name for name in ROWS if name != "val_data"]
LAYERS = ("encoder_bottleneck", "midblock")
OVERRIDES = {"telemetry": {"enabled": False}}
TOTAL = sum(ROWS[name] for name in TRAIN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkGraph]:
    """Everything but the embedding, with the defaults and batches of four."""
    with network_graph(tmp_path_factory.mktemp("network"), batch_size=4) as graph:
        for asset in ("activations", "reconstructions", "generated"):
            assert graph.run(asset).success, asset
        yield graph


@pytest.fixture
def fresh(made: NetworkGraph, tmp_path: Path) -> Iterator[NetworkGraph]:
    """The dataset alone."""
    with network_graph(tmp_path, batch_size=4) as graph:
        yield graph


def labels(graph: NetworkGraph, *names: str) -> np.ndarray:
    raw = Path(graph.data.storage.raw) / "imagenet64"
    return np.concatenate([np.load(raw / f"{name}.npz", allow_pickle=False)["labels"] for name in names])


def class_ids(graph: NetworkGraph, *names: str) -> list[int]:
    table, _ = class_table()
    return [table[int(label)] for label in labels(graph, *names)]


def direct(images: np.ndarray, classes: list[int]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    x = (torch.from_numpy(images).float() / 127.5 - 1) * 80
    onehot = torch.nn.functional.one_hot(torch.tensor(classes), 1000).float()
    with torch.inference_mode():
        taken, image = network(TINY)(x, torch.tensor(80.0), onehot, LAYERS)
    assert image is not None
    return taken, image


@pytest.mark.parametrize(("split", "names"), [("train", TRAIN), ("val", ["val_data"])])
def test_every_sample_once_with_its_label_and_the_networks_numbers(
    made: NetworkGraph, split: str, names: list[str]
) -> None:
    _, synsets = class_table()
    samples = made.samples(split=split)
    wanted = class_ids(made, *names)
    taken, _ = direct(raw_images(Path(made.data.storage.raw), *names), wanted)
    assert sorted(samples) == list(range(len(wanted)))
    for i, label in enumerate(labels(made, *names).tolist()):
        sample = samples[i]
        assert sample["class_id"] == wanted[i]
        assert sample["synset_id"] == synsets[label]
        assert sample["original_path"] == f"npz_sample_{i}"
        assert sample["source"] == "imagenet_real_npz"
        assert sample["conditioning_sigma"] == 80
        for layer in LAYERS:
            want = taken[layer][i].flatten().numpy()
            assert np.linalg.norm(sample[layer] - want) <= 5e-5 * np.linalg.norm(want)
            assert sample[layer].dtype == np.float32


def test_originals_are_the_pixels_and_reconstructions_the_networks(made: NetworkGraph) -> None:
    start = 0
    images = raw_images(Path(made.data.storage.raw), *TRAIN)
    _, denoised = direct(images, class_ids(made, *TRAIN))
    want = ((denoised + 1) * 127.5).clamp(0, 255).to(torch.uint8).numpy()
    for name in TRAIN:
        folder = made.store / "reconstructions" / name
        for kind, pixels in (("images", images), ("reconstructed", want)):
            found = list(read_pngs(folder / f"{kind}.tar"))
            assert [n for n, _ in found] == [f"sample_{start + i:06d}.png" for i in range(ROWS[name])]
            for i, (_, picture) in enumerate(found):
                difference = np.abs(picture.astype(int) - pixels[start + i].transpose(1, 2, 0).astype(int))
                assert difference.max() <= (kind == "reconstructed")
        start += ROWS[name]


def test_a_rerun_touches_nothing_and_a_new_checkpoint_rebuilds(fresh: NetworkGraph) -> None:
    assert fresh.run("activations", "val_data").success
    before = fresh.data.files()
    times = {path: path.stat().st_mtime_ns for path in fresh.store.rglob("*")}
    again = fresh.run("activations", "val_data")
    assert again.metadata["val_data"]["state"] == "unchanged, skipped"
    assert fresh.data.files() == before
    assert {path: path.stat().st_mtime_ns for path in fresh.store.rglob("*")} == times
    fresh.write_checkpoint(state(TINY, "another/"))
    assert fresh.run("activations", "val_data").metadata["val_data"]["state"] == "built"
    assert fresh.data.files() != before


@pytest.mark.parametrize("size", [1, 12])
def test_batch_size_changes_files_not_numbers(made: NetworkGraph, fresh: NetworkGraph, size: int) -> None:
    assert fresh.run("activations", batch_size=size).success
    assert len(list((fresh.store / "activations" / "train_data_batch_1").glob("*.npz"))) == -(-7 // size) + 1
    ours, theirs = fresh.samples(), made.samples()
    assert ours.keys() == theirs.keys()
    for i, sample in ours.items():
        np.testing.assert_allclose(sample["midblock"], theirs[i]["midblock"], rtol=1e-3, atol=1e-4)


def test_one_selection_over_the_split_of_which_partitions_do_their_share(fresh: NetworkGraph) -> None:
    result = fresh.run("activations", TRAIN[0], TRAIN[-1], num_samples=3, seed=1)
    assert result.success
    wanted = select(class_ids(fresh, *TRAIN), Selection(num_samples=3, seed=1)).tolist()
    assert sorted(fresh.samples()) == wanted
    shares = {name: result.metadata[name]["dagster/row_count"] for name in TRAIN}
    assert sum(shares.values()) == 3
    empty = [name for name, count in shares.items() if not count]
    assert empty, "the seed is chosen so that a partition gets nothing"
    assert result.metadata[empty[0]]["selected_of_split"] == 3
    assert (fresh.store / "activations" / empty[0] / "features.parquet").is_file()


def test_a_partition_alone_does_the_same_share(fresh: NetworkGraph) -> None:
    assert fresh.run("activations", "train_data_batch_10", num_samples=9, seed=4).success
    first = ROWS["train_data_batch_1"] + ROWS["train_data_batch_2"]
    wanted = select(class_ids(fresh, *TRAIN), Selection(num_samples=9, seed=4))
    assert sorted(fresh.samples()) == wanted[wanted >= first].tolist()


def test_classes_by_id_or_synset(fresh: NetworkGraph) -> None:
    classes = class_ids(fresh, *TRAIN)
    _, synsets = class_table()
    second = synsets[int(labels(fresh, *TRAIN)[9])]
    assert fresh.run("activations", TRAIN[0], TRAIN[-1], classes=[str(classes[2]), second]).success
    assert {s["class_id"] for s in fresh.samples().values()} == {classes[2], classes[9]}


def test_a_percentile_of_this_assets_own_statistics(made: NetworkGraph, tmp_path: Path) -> None:
    with network_graph(
        tmp_path,
        batch_size=4,
        score=_score("scores/*/features.parquet", "midblock_norm"),
        percentile=[80, 100],
    ) as graph:
        for name in TRAIN:
            target = Path(graph.data.storage.store) / "scores" / name
            target.mkdir(parents=True)
            shutil.copy(made.store / "activations" / name / "features.parquet", target)
        assert graph.run("activations", TRAIN[0], TRAIN[-1]).success
        norms = {i: float(np.linalg.norm(s["midblock"])) for i, s in made.samples().items()}
        limit = np.percentile(list(norms.values()), 80)
        assert sorted(graph.samples()) == sorted(i for i, norm in norms.items() if norm >= limit)
        absent = graph.run("activations", TRAIN[0], percentile=[0, 20], batch_size=3)
        assert absent.success
        graph.component.score = _score("nowhere/*.parquet", "midblock_norm")
        assert "no file matches nowhere/*.parquet" in graph.run("activations", TRAIN[0]).failure
        graph.component.score = _score("scores/*/features.parquet", "midblock_nrom")
        assert "midblock_nrom" in graph.run("activations", TRAIN[0]).failure


def _score(files: str, column: str) -> Any:
    from imgassets.components.network.config import ScoreColumn

    return ScoreColumn(files, column)


def nan_for_one_class(graph: NetworkGraph) -> None:
    weights = state(TINY)
    weights["model.map_label.weight"][:, class_ids(graph, *TRAIN)[4]] = 1e38
    graph.write_checkpoint(weights)


def without_a_key(graph: NetworkGraph) -> None:
    weights = state(TINY)
    del weights["model.out_conv.bias"]
    graph.write_checkpoint(weights)


def no_checkpoint(graph: NetworkGraph) -> None:
    (Path(graph.data.storage.raw) / "dmd2" / "checkpoint.pth").unlink()


def two_checkpoints(graph: NetworkGraph) -> None:
    (Path(graph.data.storage.raw) / "dmd2" / "checkpoint.bin").write_bytes(b"x")


def nothing(graph: NetworkGraph) -> None:
    pass


@pytest.mark.parametrize(
    ("break_it", "config", "message"),
    [
        (nothing, {"conditioning_sigma": 0.0}, "conditioning_sigma=0.0: a positive finite noise level"),
        (nothing, {"conditioning_sigma": -1.0}, "conditioning_sigma=-1.0"),
        (nothing, {"layers": ["encoder_block_15"]}, "unknown layer 'encoder_block_15'"),
        (nothing, {"num_samples": TOTAL + 1}, f"only {TOTAL} of the split's {TOTAL} samples"),
        (nothing, {"classes": ["n99999999"]}, "'n99999999' is neither a class_id"),
        (nothing, {"percentile": [0, 10]}, "name the score's files and column"),
        (nothing, {"dtype": "tf32"}, "tf32"),
        (nan_for_one_class, {}, "npz_sample_4: encoder_bottleneck holds values that are not finite"),
        (without_a_key, {}, "keys missing (model.out_conv.bias)"),
        (no_checkpoint, {}, "no checkpoint there"),
        (two_checkpoints, {}, "2 checkpoints match (checkpoint.bin, checkpoint.pth)"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_refusal_is_one_line_and_leaves_nothing(
    fresh: NetworkGraph, break_it: Any, config: dict[str, Any], message: str
) -> None:
    break_it(fresh)
    result = fresh.run("activations", "train_data_batch_1", **config)
    assert not result.success
    assert message in result.failure
    assert len(result.failure) <= LIMIT
    assert "\n" not in result.failure
    assert not fresh.store.exists()


def test_upstream_that_is_missing_is_named(fresh: NetworkGraph) -> None:
    shutil.rmtree(fresh.data.store / "arrays" / "val_data")
    assert "imagenet64/arrays has no partition val_data yet" in fresh.run("activations", "val_data").failure


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"npz": "imagenet64", "folder": "caltech256"}, "one input is needed, npz or folder"),
        ({}, "one input is needed"),
        ({"npz": "imagenet64", "layers": ["encoder_block_99"]}, "unknown layer 'encoder_block_99'"),
        ({"npz": "imagenet64", "conditioning_sigma": 0.0}, "conditioning_sigma"),
        ({"npz": "imagenet64", "resize": "stretch"}, "resize='stretch'"),
        ({"npz": "imagenet64", "classes": ["1000"]}, "'1000' is neither"),
        ({"npz": "imagenet64", "percentile": [5]}, "percentile"),
        ({"npz": "imagenet64", "generated_chunks": 0}, "generated_chunks"),
    ],
)
def test_yaml_of_no_meaning_is_refused_at_load(
    attributes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGASSETS_RAW", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(BadInput, match=message):
        Activations(name="dmd2", **attributes).build_defs(None)  # type: ignore[arg-type]


def test_generated_samples_belong_to_their_number(made: NetworkGraph, tmp_path: Path) -> None:
    samples = made.samples("generated")
    assert sorted(samples) == list(range(2 * CHUNK))
    assert len({s["class_id"] for s in samples.values()}) > 3
    pictures = dict(read_pngs(made.store / "generated" / "1" / "images.tar"))
    assert list(pictures) == [f"sample_{CHUNK + i:06d}.png" for i in range(CHUNK)]
    assert len({picture.tobytes() for picture in pictures.values()}) == CHUNK
    with network_graph(tmp_path, batch_size=4, generated_chunks=1, generated_per_chunk=2 * CHUNK) as other:
        assert other.run("generated", "0", batch_size=5).success
        for i, sample in other.samples("generated").items():
            assert sample["class_id"] == samples[i]["class_id"]
            np.testing.assert_allclose(sample["midblock"], samples[i]["midblock"], rtol=1e-3, atol=1e-4)
        assert other.run("generated", "0", classes=["7", "8"]).success
        assert [s["class_id"] for s in other.samples("generated").values()] == [7, 8] * CHUNK


def test_single_files_and_pooled_storage(fresh: NetworkGraph) -> None:
    assert fresh.run("reconstructions", "val_data", single_files=True).success
    files = sorted(p.name for p in (fresh.store / "reconstructions" / "val_data" / "images").iterdir())
    assert files == [f"sample_{i:06d}.png" for i in range(ROWS["val_data"])]
    assert fresh.run("activations", "val_data", storage="pooled").success
    channels = TINY.layer_shape("midblock")[0]
    assert {s["midblock"].shape for s in fresh.samples(split="val").values()} == {(channels,)}


def checks(graph: NetworkGraph, asset: str, partition: str) -> dict[str, bool]:
    key = dg.AssetKey(["dmd2", asset])
    job = dg.define_asset_job("checks", dg.AssetSelection.checks_for_assets(key))
    defs = dg.Definitions.merge(graph.defs, dg.Definitions(jobs=[job]))
    run = defs.resolve_job_def("checks").execute_in_process(
        instance=graph.data.instance, tags={"dagster/partition": partition}, raise_on_error=False
    )
    return {found.check_name: found.passed for found in run.get_asset_check_evaluations()}


def test_checks_pass_on_what_is_sound(made: NetworkGraph) -> None:
    for asset, partition in (("activations", "train_data_batch_10"), ("generated", "0")):
        assert checks(made, asset, partition) == dict.fromkeys(
            ("all_finite", "every_sample_once", "labels_agree"), True
        )
    assert checks(made, "reconstructions", "val_data") == {"images_complete": True}


def test_checks_fail_on_what_is_damaged(fresh: NetworkGraph) -> None:
    assert fresh.run("activations", "val_data").success
    folder = fresh.store / "activations" / "val_data"
    batch, described = folder / "batch_000001.npz", folder / "batch_000001.json"
    with np.load(batch, allow_pickle=False) as archive:
        layers = {name: archive[name] for name in archive.files}
    layers["midblock"][2, 5] = np.nan
    np.savez(batch, **layers)
    text = described.read_text()
    size = len(text)
    text = text.replace('"global_index": 5', '"global_index": 4').replace('"synset_id": "n0', '"synset_id": "n9')
    described.write_text(text)
    assert len(text) == size
    assert not any(checks(fresh, "activations", "val_data").values())
    assert fresh.run("reconstructions", "val_data").success
    tar = fresh.store / "reconstructions" / "val_data" / "reconstructed.tar"
    with tarfile.open(tar) as archive:
        offset = archive.getmembers()[3].offset_data
    raw = bytearray(tar.read_bytes())
    raw[offset + 60] ^= 255
    tar.write_bytes(raw)
    assert checks(fresh, "reconstructions", "val_data") == {"images_complete": False}


def test_the_pool_keeps_runs_off_one_card(fresh: NetworkGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()
    outputs = NetworkRun.outputs

    def watched(self: NetworkRun, *args: Any, **kwargs: Any) -> Any:
        started.set()
        return outputs(self, *args, **kwargs)

    monkeypatch.setattr(NetworkRun, "outputs", watched)
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home"), overrides=OVERRIDES) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots(POOL, 1)
        assert storage.claim_concurrency_slot(POOL, "another run", "its step").is_claimed
        done: list[bool] = []
        thread = threading.Thread(
            target=lambda: done.append(fresh.run("activations", "val_data", instance=instance).success), daemon=True
        )
        thread.start()
        assert not started.wait(4), "it began although another run has the card"
        storage.free_concurrency_slots_for_run("another run")
        assert started.wait(120)
        thread.join(120)
    assert done == [True]


@pytest.mark.slow
def test_embedding_of_real_and_generated(made: NetworkGraph) -> None:
    made.component.umap_neighbors = 3
    result = made.run("embedding")
    assert result.success
    folder = made.store / "embedding" / "train"
    lines = (folder / "imagenet_real_umap_n3_d0.1.csv").read_text().splitlines()
    assert len(lines) == 1 + TOTAL + 2 * CHUNK
    assert "data:image" in result.metadata["train"]["plot"]
    numbers = result.metadata["train"]["layers"]["midblock"]
    assert f"⚠ midblock: {numbers['warning']}" in result.metadata["train"]["distances"]
    assert numbers["frechet_distance"] > 0
    assert 0 <= numbers["coverage"] <= 1
    made.run("activations", layers=["midblock"])
    assert "make both with the same layers" in made.run("embedding", "train").failure

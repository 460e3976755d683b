"""A tiny network over a tiny NPZ dataset, its graph, and runs of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import torch  # noqa: TID253

from imgassets.components import Activations
from imgassets.components.network.inputs import NpzInput
from imgassets.environment import Device
from imgassets.formats.activation_npz import ActivationReader
from tests.components.building import over
from tests.components.imagenet import QUIET, Graph, Result, graph, rows, save_npz
from tests.models.networks import TINY, state

ROWS = {"train_data_batch_1": 7, "train_data_batch_2": 5, "train_data_batch_10": 6, "val_data": 9}
"""In text order the batches would be 1, 10, 2."""
CHUNK = 6


@dataclass
class NetworkGraph:
    """The graph of the network's assets on top of the dataset's."""

    data: Graph
    component: Activations
    device: Device

    @property
    def store(self) -> Path:
        return self.data.store.parent / "dmd2"

    @property
    def defs(self) -> dg.Definitions:
        storage = self.data.storage
        own = self.component.build_over(NpzInput("imagenet64", self.data.dataset.splits, self.component.enlarge))
        return over(dg.Definitions.merge(self.data.defs, own), storage, device=self.device)

    def run(
        self,
        asset: str,
        first: str | None = None,
        last: str | None = None,
        *,
        instance: dg.DagsterInstance | None = None,
        **config: Any,
    ) -> Result:
        """Materialize partitions `first`..`last` in one run; default: all, or `first` alone."""
        defs = self.defs
        definition = defs.resolve_assets_def(dg.AssetKey(["dmd2", asset])).partitions_def
        assert definition is not None
        keys = definition.get_partition_keys()
        last = last or first or keys[-1]
        first = first or keys[0]
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        job = defs.resolve_implicit_global_asset_job_def()
        return Result(
            job.execute_in_process(
                instance=instance or self.data.instance,
                asset_selection=[dg.AssetKey(["dmd2", asset])],
                partition_key=first if first == last else None,
                tags=None if first == last else tags,
                run_config=QUIET | {"ops": {f"dmd2__{asset}": {"config": config}}},
                raise_on_error=False,
            )
        )

    def samples(self, asset: str = "activations", split: str = "train") -> dict[int, dict[str, Any]]:
        """By global index: what the JSON says of each sample, and its activations."""
        found = {}
        for folder in sorted((self.store / asset).iterdir()):
            if folder.name.startswith("val") != (split == "val"):
                continue
            reader = ActivationReader(folder)
            for number in range(len(reader.batches)):
                layers, samples = reader.read(number)
                for i, sample in enumerate(samples):
                    assert sample["global_index"] not in found
                    found[sample["global_index"]] = sample | {layer: values[i] for layer, values in layers.items()}
        return found

    def write_checkpoint(self, weights: dict[str, torch.Tensor]) -> None:
        torch.save(weights, Path(self.data.storage.raw) / "dmd2" / "checkpoint.pth")


def write_raw(raw: Path) -> None:
    """Batches 1, 2 and 10 and val_data of 16 pixels, and a network for them."""
    for number, (name, count) in enumerate(ROWS.items()):
        save_npz(raw / "imagenet64" / f"{name}.npz", **rows(number, count))
    (raw / "dmd2").mkdir()
    (raw / "dmd2" / "network.json").write_text(json.dumps(TINY.as_dict()))
    torch.save(state(TINY), raw / "dmd2" / "checkpoint.pth")


def raw_images(raw: Path, *names: str) -> np.ndarray:
    """uint8 (N, 3, 16, 16) of some batches, one after the other."""
    parts = [np.load(raw / "imagenet64" / f"{name}.npz", allow_pickle=False)["data"] for name in names]
    return np.concatenate(parts).reshape(-1, 3, 16, 16)


@contextmanager
def network_graph(folder: Path, **attributes: Any) -> Iterator[NetworkGraph]:
    """The dataset with its index and arrays made, and the network over it."""
    with graph(folder, write_raw, name="imagenet64", train_batches=[1, 2, 10], resolution=16) as data:
        for asset in ("npz_index", "arrays"):
            assert data.run(asset).success
        given = {"name": "dmd2", "npz": "imagenet64", "generated_chunks": 2, "generated_per_chunk": CHUNK}
        yield NetworkGraph(data, Activations(**given | attributes), Device(device="cpu"))

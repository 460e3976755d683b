"""Every kind of artifact the project makes, small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # noqa: TID253

from imgassets.commit import Recipe, Stage, Written
from imgassets.environment import Storage
from imgassets.formats import systemds_binary, systemds_csv
from imgassets.formats.arrays import LabelledImages, write_arrays
from imgassets.formats.embedding import Embedding, write_embedding
from imgassets.formats.index import Index, write_index
from imgassets.io.activations import ActivationsIOManager, NetworkOutputs, ReconstructionsIOManager
from imgassets.io.ct_rate import CtManifestIOManager, CtShardIOManager, ManifestContent
from imgassets.io.tfrecords import write_shard
from imgassets.sources.folder import class_folder
from imgassets.stores.convert import convert
from imgassets.stores.registry import BUNDLED
from imgassets.stores.writing import StorePlan, write_store
from imgassets.testing import making
from tests.formats.systemds_rows import ArrayRows
from tests.io.test_activations import ROWS, SHAPE, outputs
from tests.io.test_ct_rate import Content
from tests.io.test_tfrecords import TestTFRecords

FILES = {"ct_shard": "shard-000000.tar", "ct_manifest": "manifest.json", "tfrecords": "train-00000-of-00001"}
"""Kinds that are one file, not a folder, and its name."""
Write = Callable[[Stage], Any]


@dataclass(frozen=True)
class Kinds:
    """Makes artifacts below a `root` from inputs that are made once."""

    inputs: Path

    def __post_init__(self) -> None:
        making.folder(self.inputs / "images")
        self._archives()

    @property
    def names(self) -> list[str]:
        """All kinds."""
        return [*self._writers(self.inputs), *(f"convert-{name}" for name in BUNDLED)]

    def place(self, root: Path, kind: str) -> Path:
        """Where an artifact will lie."""
        return root / "store" / kind / FILES.get(kind, "one")

    def make(self, root: Path, kind: str) -> None:
        """Commit an artifact."""
        if kind.startswith("convert-"):
            self._convert(self.place(root, kind), kind.removeprefix("convert-"))
            return
        storage, write = _storage(root), self._writers(root)[kind]
        location = storage.vault.location(kind, self.place(root, kind).name, folder=kind not in FILES)

        def written(stage: Stage) -> Written:
            facts = write(stage)
            return facts if isinstance(facts, Written) else Written()

        storage.vault.commit(location, Recipe(kind, "one", {}, {}, f"{kind}/1", "1"), written)

    def _convert(self, output: Path, format_: str) -> None:
        """By two processes, the second of which links what both have made."""
        source = making.arrays(24, (3, 64, 64))
        for rank in (1, 0):
            convert(source, output, format=format_, images_per_file=10, threads=1, rank=rank, world_size=2)

    def _writers(self, root: Path) -> dict[str, Write]:
        rows = ArrayRows(np.random.default_rng(0).integers(0, 256, (40, 3072), np.uint8))
        labels, order = np.arange(40) % 7, np.arange(40)
        numbers = np.random.default_rng(0).integers(0, 1 << 60, 20_000)
        plane = {"umap_x": order.astype(np.float32), "umap_y": np.zeros(40, np.float32)}
        points = pa.table({"kind": ["real", "generated"] * 20, **plane})
        blocks = rows.pixels.reshape(4, 10, 3072)
        storage = _storage(root)

        def network(manager: Any, **settings: Any) -> Write:
            return lambda stage: manager(storage=storage).write(
                NetworkOutputs(outputs("part_1"), ROWS, **settings), stage
            )

        document = {"total_shards": 0, "total_samples": 0, "revision": "0" * 40, "shards": [], "skipped": []}
        sample = partial(systemds_csv.write_sample, split="val", gib=5e-4, classes=7, threads=1)
        matrix = partial(systemds_binary.write_sample_blocks, split="val", size="1", classes=7)
        images, files = making.arrays(24, (3, 64, 64)), class_folder(self.inputs / "images")
        return {
            **{name: partial(_store, images, name) for name in BUNDLED},
            **{f"{name}-files": partial(_store, files, name) for name in BUNDLED},
            "index": partial(write_index, Index(pa.table({"number": numbers}), {"rows": len(numbers)})),
            "arrays": partial(write_arrays, LabelledImages(blocks, labels, (3, 32, 32))),
            "csv": lambda stage: sample(stage, rows, order, labels),
            "binary": lambda stage: matrix(stage, rows, order, labels),
            "embedding": partial(write_embedding, Embedding("points", points, {"k": 5})),
            "activations": network(ActivationsIOManager, layers={"midblock": SHAPE}, images="images"),
            "reconstructions": network(ReconstructionsIOManager, originals=True, images="reconstructed"),
            "pictures": network(ReconstructionsIOManager, images="images", single_files=True),
            "ct_shard": lambda stage: CtShardIOManager(storage=storage).write(Content(1), stage),
            "ct_manifest": partial(CtManifestIOManager(storage=storage).write, ManifestContent(document, {})),
            "tfrecords": lambda stage: write_shard(self._archives(), stage),
        }

    def _archives(self) -> Any:
        made = TestTFRecords()
        made.folder = self.inputs / "archives"
        return made.content("part_10")


def _storage(root: Path) -> Storage:
    """All homes are one owner's: what they make is compared."""
    state = root / "state"
    state.mkdir(parents=True, exist_ok=True)
    (state / "id").write_text("owner\n")
    return Storage(raw=str(root / "raw"), store=str(root / "store"), state=str(root / "state"))


def _store(source: Any, format_: str, stage: Stage) -> Written:
    return write_store(source, stage, StorePlan(format_, images_per_file=10, threads=1))

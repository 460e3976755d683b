"""Every kind of artifact the project makes, small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # noqa: TID253

from imgassets.commit import Location, Recipe, Stage, Written
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
        for version in (1, 2):
            making.folder(self.inputs / f"images-{version}", per_class=3 + version)
            self._archives(version)

    @property
    def names(self) -> list[str]:
        """All kinds."""
        return [*self._writers(self.inputs, 1), *(f"convert-{name}" for name in BUNDLED)]

    def place(self, root: Path, kind: str) -> Path:
        """Where an artifact will lie."""
        return root / "store" / kind / FILES.get(kind, "one")

    def make(self, root: Path, kind: str, version: int) -> None:
        """Commit version 1 or 2 of an artifact; each has bytes of its own."""
        if kind.startswith("convert-"):
            self._convert(self.place(root, kind), kind.removeprefix("convert-"), version)
            return
        write = self._writers(root, version)[kind]

        def written(stage: Stage) -> Written:
            facts = write(stage)
            return facts if isinstance(facts, Written) else Written()

        recipe = Recipe(kind, "one", {}, {"version": version}, f"{kind}/1", "1")
        _storage(root).vault.commit(self._location(root, kind), recipe, written)

    def verify(self, root: Path, kind: str) -> None:
        """Read every byte of an artifact; raises as `Vault.verify` does."""
        _storage(root).vault.verify(self._location(root, kind))

    def files(self, root: Path, kind: str) -> list[Path]:
        """The files of an artifact, its manifest among them."""
        location = self._location(root, kind)
        found = [path for path in location.path.rglob("*") if path.is_file()] if location.folder else [location.path]
        return sorted({*found, location.manifest})

    def _location(self, root: Path, kind: str) -> Location:
        return _storage(root).vault.location(kind, self.place(root, kind).name, folder=kind not in FILES)

    def _convert(self, output: Path, format_: str, version: int) -> None:
        """By two processes, the second of which links what both have made."""
        source = making.arrays(22 + version, (3, 64, 64))
        for rank in (1, 0):
            convert(source, output, format=format_, images_per_file=10, threads=1, rank=rank, world_size=2)

    def _writers(self, root: Path, version: int) -> dict[str, Write]:
        rows = ArrayRows(np.random.default_rng(version).integers(0, 256, (40, 3072), np.uint8))
        labels, order = np.arange(40) % 7, np.arange(40)
        numbers = np.random.default_rng(version).integers(0, 1 << 60, 20_000)
        plane = {"umap_x": order.astype(np.float32), "umap_y": np.full(40, version, np.float32)}
        points = pa.table({"kind": ["real", "generated"] * 20, **plane})
        blocks = rows.pixels.reshape(4, 10, 3072)
        storage = _storage(root)

        def network(manager: Any, **settings: Any) -> Write:
            return lambda stage: manager(storage=storage).write(
                NetworkOutputs(outputs(f"part_{version}"), ROWS, **settings), stage
            )

        document = {"total_shards": 0, "total_samples": 0, "revision": str(version) * 40, "shards": [], "skipped": []}
        sample = partial(systemds_csv.write_sample, split="val", gib=5e-4, classes=7, threads=1)
        matrix = partial(systemds_binary.write_sample_blocks, split="val", size="1", classes=7)
        images, files = making.arrays(22 + version, (3, 64, 64)), class_folder(self.inputs / f"images-{version}")
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
            "ct_shard": lambda stage: CtShardIOManager(storage=storage).write(Content(version), stage),
            "ct_manifest": partial(CtManifestIOManager(storage=storage).write, ManifestContent(document, {}, {})),
            "tfrecords": lambda stage: write_shard(self._archives(version), stage),
        }

    def _archives(self, version: int) -> Any:
        made = TestTFRecords()
        made.folder = self.inputs / "archives"
        return made.content(TestTFRecords.keys[-version])


def _storage(root: Path) -> Storage:
    """All homes are one owner's: what they make is compared."""
    state = root / "state"
    state.mkdir(parents=True, exist_ok=True)
    (state / "id").write_text("owner\n")
    return Storage(raw=str(root / "raw"), store=str(root / "store"), state=str(root / "state"))


def _store(source: Any, format_: str, stage: Stage) -> Written:
    return write_store(source, stage, StorePlan(format_, images_per_file=10, threads=1))

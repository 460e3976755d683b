import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imgassets.environment import Storage
from imgassets.formats.activation_npz import ActivationReader
from imgassets.io.activations import ActivationsIOManager, NetworkOutputs, ReconstructionsIOManager
from imgassets.io.base import ArtifactIOManager
from imgassets.models.extract import Batch, Outputs
from imgassets.models.statistics import Moments
from imgassets.testing.io_manager import KEYS, IOManagerContract

ROWS, BATCH = 7, 3
SHAPE = (4, 2, 2)


def outputs(key: str, rows: int = ROWS) -> Iterator[Outputs]:
    rng = np.random.default_rng(KEYS.index(key))
    for start in range(0, rows, BATCH):
        index = np.arange(start, min(start + BATCH, rows)) + 1000 * KEYS.index(key)
        count = len(index)
        full = rng.normal(size=(count, *SHAPE)).astype(np.float32)
        images = rng.integers(0, 256, (2, count, 3, 8, 8), np.uint8)
        samples = Batch(index, tuple(f"npz_sample_{i}" for i in index), index % 1000, images[0])
        largest = {"midblock": np.abs(full).max(axis=(1, 2, 3))}
        norm = {"midblock": np.linalg.norm(full.reshape(count, -1), axis=1)}
        pooled = {"midblock": full.mean(axis=(2, 3))}
        yield Outputs(samples, {"midblock": full.reshape(count, -1)}, pooled, largest, norm, images[1])


class TestActivations(IOManagerContract):
    def manager(self, storage: Storage) -> ArtifactIOManager:
        return ActivationsIOManager(storage=storage)

    def content(self, key: str) -> NetworkOutputs:
        sample = {"source": "imagenet_real_npz", "conditioning_sigma": 80.0}
        return NetworkOutputs(outputs(key), ROWS, {"midblock": SHAPE}, sample=sample)

    def check(self, handle: ActivationReader, key: str) -> None:
        wanted = list(outputs(key))
        assert [path.name for path in handle.batches] == [f"batch_{i:06d}.npz" for i in range(3)]
        for number, out in enumerate(wanted):
            layers, samples = handle.read(number)
            np.testing.assert_array_equal(layers["midblock"], out.activations["midblock"])
            assert [s["original_path"] for s in samples] == list(out.samples.names)
            assert [s["class_id"] for s in samples] == out.samples.class_ids.tolist()
            assert samples[0]["source"] == "imagenet_real_npz"
        moments = Moments.from_arrays(handle.moments(), "midblock")
        rows = np.concatenate([out.pooled["midblock"] for out in wanted])
        np.testing.assert_allclose(moments.covariance, np.cov(rows.T), rtol=1e-5)
        assert handle.features()["global_index"].to_pylist() == [int(i) for out in wanted for i in out.samples.index]


class TestReconstructions(IOManagerContract):
    def manager(self, storage: Storage) -> ArtifactIOManager:
        return ReconstructionsIOManager(storage=storage)

    def content(self, key: str) -> NetworkOutputs:
        return NetworkOutputs(outputs(key), ROWS, originals=True, images="reconstructed")

    def check(self, handle: Any, key: str) -> None:
        for place, name in ((0, "images"), (1, "reconstructed")):
            with tarfile.open(handle.path / f"{name}.tar") as archive:
                found = {m.name: Image.open(io.BytesIO(archive.extractfile(m).read())) for m in archive}  # type: ignore[union-attr]
            wanted = [pair for out in outputs(key) for pair in zip(out.samples.index, _images(out)[place], strict=True)]
            assert list(found) == [f"sample_{i:06d}.png" for i, _ in wanted]
            for (_, image), picture in zip(wanted, found.values(), strict=True):
                np.testing.assert_array_equal(np.asarray(picture), image.transpose(1, 2, 0))


def _images(out: Outputs) -> tuple[Any, Any]:
    return out.samples.images, out.image


def test_single_files_on_request(tmp_path: Path) -> None:
    class SingleFiles(TestReconstructions):
        def content(self, key: str) -> NetworkOutputs:
            return NetworkOutputs(outputs(key), ROWS, originals=True, images="reconstructed", single_files=True)

    storage = Storage(raw="", store=str(tmp_path / "store"), state=str(tmp_path / "state"))
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as instance:
        suite = SingleFiles()
        assert suite.run(storage, instance, KEYS[0], KEYS[0]).success
    folder = Path(storage.store) / "made" / KEYS[0]
    for name in ("images", "reconstructed"):
        assert sorted(p.name for p in (folder / name).iterdir()) == [f"sample_{i:06d}.png" for i in range(ROWS)]

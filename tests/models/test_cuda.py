"""The network on a CUDA device gives what it gives on the CPU, within each precision's tolerance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch  # noqa: TID253

from imgassets.models.device import place
from imgassets.models.extract import Batch, Extractor, Outputs
from imgassets.models.settings import Compute, Extraction
from tests.models.networks import TINY, network

# torch.compile itself calls what its own package deprecates
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")]
LAYERS = tuple(TINY.layers)
COUNT = 12


def extracted(compute: Compute, most: int | None = None) -> list[Outputs]:
    rng = np.random.default_rng(0)
    size = TINY.img_resolution
    images = rng.integers(0, 256, (COUNT, TINY.img_channels, size, size), np.uint8)
    ids = np.arange(COUNT)
    samples = Batch(ids, tuple(map(str, ids)), ids, images)
    placed, device = place(network(TINY), compute)
    return list(Extractor(placed, device, Extraction(), layers=LAYERS, image=True, most=most)([samples]))


@pytest.mark.parametrize(
    ("dtype", "tolerance", "levels"), [("float32", 2e-5, 1), ("tf32", 8e-3, 4), ("bf16", 4e-2, 12)]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_agrees_with_the_cpu(dtype: str, tolerance: float, levels: int, compiled: bool) -> None:
    (want,) = extracted(Compute("cpu"))
    (found,) = extracted(replace(Compute("cuda"), dtype=dtype, compile=compiled))
    for layer in LAYERS:
        difference = np.linalg.norm(found.activations[layer] - want.activations[layer])
        assert difference <= tolerance * np.linalg.norm(want.activations[layer]), layer
    assert found.image is not None
    assert want.image is not None
    assert np.abs(found.image.astype(int) - want.image).max() <= levels


def test_memory_that_runs_out_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Compute("cuda")
    (want,) = extracted(compute)
    forward = Extractor._forward

    def short(self: Extractor, samples: Batch, rows: slice) -> object:
        if min(rows.stop, len(samples)) - rows.start > 3:
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return forward(self, samples, rows)

    monkeypatch.setattr(Extractor, "_forward", short)
    (found,) = extracted(compute)
    for layer in LAYERS:
        np.testing.assert_allclose(found.activations[layer], want.activations[layer], rtol=1e-4, atol=1e-4)

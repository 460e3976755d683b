import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253

from imgassets.errors import BadInput, StoreError
from imgassets.models.device import choose_device, place
from imgassets.models.edm import Denoiser
from imgassets.models.extract import Batch, Extractor, Outputs
from imgassets.models.noise import noise
from imgassets.models.settings import Compute, Extraction
from tests.models.networks import TINY, network

COUNT = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 16, 16), np.uint8)
CLASSES = np.arange(COUNT) * 83
LAYERS = ("encoder_bottleneck", "midblock")


def batches(size: int, count: int = COUNT, images: bool = True) -> Iterator[Batch]:
    for start in range(0, count, size):
        index = np.arange(start, min(start + size, count))
        names = tuple(f"npz_sample_{i}" for i in index)
        yield Batch(index, names, CLASSES[index % COUNT], IMAGES[index % COUNT] if images else None)


def run(
    settings: Extraction, *, net: Denoiser | None = None, compute: Compute | None = None, **kwargs: Any
) -> list[Outputs]:
    placed, device = place(net or network(TINY), compute or Compute(device="cpu"))
    extractor = Extractor(placed, device, settings, **{"layers": LAYERS} | kwargs)
    return list(extractor(batches(settings.batch_size, images=kwargs.get("source") != "noise")))


def joined(outputs: list[Outputs], layer: str) -> np.ndarray:
    return np.concatenate([o.activations[layer] for o in outputs])


def test_results_are_the_networks_own() -> None:
    outputs = run(Extraction(batch_size=5), image=True)
    x = (torch.from_numpy(IMAGES).float() / 127.5 - 1) * 80
    onehot = torch.nn.functional.one_hot(torch.from_numpy(CLASSES), 1000).float()
    with torch.inference_mode():
        taken, image = network(TINY)(x, torch.tensor(80.0), onehot, LAYERS)
    assert image is not None
    for layer in LAYERS:
        want = taken[layer].flatten(1).numpy()
        np.testing.assert_allclose(joined(outputs, layer), want, rtol=1e-3, atol=1e-4)
        pooled = np.concatenate([o.pooled[layer] for o in outputs])
        np.testing.assert_allclose(pooled, taken[layer].mean((2, 3)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(np.concatenate([o.absmax[layer] for o in outputs]), np.abs(want).max(1), rtol=1e-4)
        np.testing.assert_allclose(
            np.concatenate([o.norm[layer] for o in outputs]), np.linalg.norm(want, axis=1), rtol=1e-4
        )
    bytes_ = ((image + 1) * 127.5).clamp(0, 255).to(torch.uint8).numpy()
    assert np.abs(np.concatenate([o.image for o in outputs]).astype(int) - bytes_.astype(int)).max() <= 1
    assert np.concatenate([o.samples.index for o in outputs]).tolist() == list(range(COUNT))


@pytest.mark.parametrize("size", [1, 5, 12])
def test_identical_with_and_without_the_image(size: int) -> None:
    settings = Extraction(batch_size=size)
    with_image, without = run(settings, image=True), run(settings)
    for layer in LAYERS:
        np.testing.assert_array_equal(joined(with_image, layer), joined(without, layer))


@pytest.mark.parametrize("mode", ["noised", "noise"])
def test_noise_belongs_to_the_sample_not_to_its_batch(mode: str) -> None:
    settings = {size: Extraction(input_mode="noised", batch_size=size, seed=3) for size in (1, 4, 12)}
    results = [joined(run(s, source=mode), "midblock") for s in settings.values()]
    for other in results[1:]:
        np.testing.assert_allclose(results[0], other, rtol=1e-3, atol=1e-4)
    reseeded = joined(run(Extraction(input_mode="noised", batch_size=4, seed=4), source=mode), "midblock")
    assert np.abs(results[0] - reseeded).max() > 0.1


def test_noise_is_normal_and_keyed_by_seed_and_sample() -> None:
    a = noise(7, range(200), (3, 16, 16))
    assert abs(a.mean()) < 0.01
    assert abs(a.std() - 1) < 0.01
    np.testing.assert_array_equal(a[17], noise(7, [17], (3, 16, 16))[0])
    assert not np.array_equal(a[17], noise(8, [17], (3, 16, 16))[0])


def test_input_modes_differ_and_class_can_be_left_out() -> None:
    seen = [
        joined(
            run(Extraction(batch_size=12, conditioning_sigma=0.5, input_mode=mode, class_conditioning=told)), "midblock"
        )
        for mode in ("dmd2", "clean", "noised")
        for told in (True, False)
    ]
    for i, a in enumerate(seen):
        for b in seen[i + 1 :]:
            assert np.abs(a - b).max() > 1e-2


def test_pooled_storage_is_the_mean_over_pixels() -> None:
    full, pooled = run(Extraction(batch_size=4)), run(Extraction(batch_size=4, storage="pooled"))
    for layer in LAYERS:
        channels, *pixels = TINY.layer_shape(layer)
        want = joined(full, layer).reshape(COUNT, channels, -1).mean(axis=2)
        np.testing.assert_allclose(joined(pooled, layer), want, rtol=1e-3, atol=1e-4)
        assert len(pixels) == 2


def test_float16_storage_rounds_and_refuses_what_it_cannot_hold() -> None:
    half = joined(run(Extraction(batch_size=4, storage_dtype="float16")), "midblock")
    assert half.dtype == np.float16
    net = network(TINY)
    net.model.dec["8x8_in0"].conv1.bias.fill_(1e5)  # type: ignore[union-attr, operator]
    with pytest.raises(BadInput, match="npz_sample_0: midblock reaches"):
        run(Extraction(batch_size=4, storage_dtype="float16"), net=net)


def test_a_nan_names_sample_and_layer() -> None:
    net = network(TINY)
    net.model.map_label.weight[:, CLASSES[7]] = 1e38  # overflows in the first block
    with pytest.raises(BadInput, match=r"npz_sample_7: encoder_bottleneck holds values that are not finite"):
        run(Extraction(batch_size=5), net=net)
    with pytest.raises(BadInput, match=r"npz_sample_7: the output"):
        run(Extraction(batch_size=5), net=net, layers=(), image=True)


@pytest.mark.parametrize("class_id", [-1, 1000])
def test_a_class_the_network_does_not_have_is_refused(class_id: int) -> None:
    placed, device = place(network(TINY), Compute(device="cpu"))
    samples = Batch(np.array([4]), ("npz_sample_4",), np.array([class_id]), IMAGES[:1])
    with pytest.raises(BadInput, match=f"npz_sample_4: class {class_id}"):
        list(Extractor(placed, device, Extraction(), layers=LAYERS)([samples]))


def test_images_of_another_size_are_refused() -> None:
    placed, device = place(network(TINY), Compute(device="cpu"))
    samples = Batch(np.array([4]), ("npz_sample_4",), np.array([0]), np.zeros((1, 3, 32, 32), np.uint8))
    with pytest.raises(BadInput, match=r"npz_sample_4: images of shape \[1, 3, 16, 16\]"):
        list(Extractor(placed, device, Extraction(), layers=LAYERS)([samples]))


class Cramped(Denoiser):
    """Has memory for a few samples at a time."""

    most = 3
    asked: list[int]

    def forward(self, x: torch.Tensor, *args: Any) -> Any:
        self.asked.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(x, *args)


def cramped(most: int) -> Cramped:
    net = Cramped(TINY).eval().requires_grad_(False)
    net.load_state_dict(network(TINY).state_dict())
    net.most, net.asked = most, []
    return net


def test_batches_are_halved_until_they_fit_and_stay_whole_on_disk() -> None:
    net = cramped(3)
    outputs = run(Extraction(batch_size=12), net=net)
    assert net.asked == [12, 6, 3, 3, 3, 3]
    assert [len(o.samples) for o in outputs] == [12]
    np.testing.assert_allclose(
        joined(outputs, "midblock"), joined(run(Extraction(batch_size=12)), "midblock"), rtol=1e-3, atol=1e-4
    )


def test_no_memory_for_one_sample_is_said() -> None:
    with pytest.raises(StoreError, match="npz_sample_0: cpu has too little memory for a single sample"):
        run(Extraction(batch_size=4), net=cramped(0))


def test_other_errors_pass() -> None:
    net = network(TINY)
    net.forward = lambda *_: (_ for _ in ()).throw(RuntimeError("kernel failed"))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="kernel failed"):
        run(Extraction(batch_size=4), net=net)


def test_reading_runs_ahead_and_memory_does_not_grow() -> None:
    placed, device = place(network(TINY), Compute(device="cpu"))
    alive, most, lock = 0, 0, threading.Lock()
    readers = set()

    def read() -> Iterator[Batch]:
        nonlocal alive, most
        for samples in batches(4, 240):
            readers.add(threading.current_thread())
            with lock:
                alive += 1
                most = max(most, alive)
            yield samples

    tracemalloc.start()
    for _ in Extractor(placed, device, Extraction(batch_size=4), layers=LAYERS)(read()):
        with lock:
            alive -= 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert alive == 0
    assert most <= 10
    assert peak < 20e6
    assert threading.main_thread() not in readers


def test_leaving_early_stops_the_reader() -> None:
    placed, device = place(network(TINY), Compute(device="cpu"))
    before = threading.active_count()
    results = Extractor(placed, device, Extraction(batch_size=1), layers=LAYERS)(batches(1))
    next(iter(results))
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf"), True, "80"])
def test_a_sigma_that_is_no_noise_level_is_refused(sigma: Any) -> None:
    with pytest.raises(BadInput, match="conditioning_sigma"):
        Extraction(conditioning_sigma=sigma)


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"seed": -1}, {"input_mode": "noise"}, {"storage": "half"}, {"storage_dtype": "bf16"}],
)
def test_settings_of_no_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Extraction(**wrong)


def test_devices_that_are_not_there_are_refused() -> None:
    assert choose_device(Compute(device="cpu")).type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match=r"this machine has .*cpu only"):
            choose_device(Compute(device="cuda"))
        with pytest.raises(BadInput, match="tf32"):
            choose_device(Compute(device="cpu", dtype="tf32"))
    with pytest.raises(BadInput, match="device='tpu'"):
        Compute(device="tpu")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="dtype='fp8'"):
        Compute(dtype="fp8")  # type: ignore[arg-type]

"""Activations of the published network's shape: CPU seconds per image beside a plain implementation, reading and
writing, NPZ beside JPEG folders, memory; and images per second on a GPU where there is one.

python tests/bench/bench_activations.py [--small]     --small: a smaller network, for a look in a minute
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch  # noqa: TID253
from PIL import Image

from imgassets.commit import Location, Recipe, Stage
from imgassets.formats.activation_npz import write_batch
from imgassets.formats.features import FEATURES, FeatureWriter
from imgassets.formats.png_tar import PngTar
from imgassets.models.config import NetworkConfig
from imgassets.models.device import place
from imgassets.models.edm import Denoiser
from imgassets.models.extract import Batch, Extractor, Outputs
from imgassets.models.resize import lanczos_stretch, resize_image
from imgassets.models.settings import Compute, Extraction
from imgassets.models.statistics import Accumulator
from tests.bench.plain_edm import PlainDenoiser

LAYERS = ("encoder_bottleneck", "midblock")
SMALL = NetworkConfig(model_channels=64, num_blocks=1)
GFLOP = {"full": 219.32, "midblock": 61.26}
"""Per image of the published shape, counted as two per multiply-add."""


def networks(config: NetworkConfig) -> tuple[Denoiser, PlainDenoiser]:
    """Ours and the plain one with the same random weights."""
    torch.manual_seed(0)
    plain = PlainDenoiser(config).eval().requires_grad_(False)
    ours = Denoiser(config).eval().requires_grad_(False)
    ours.load_state_dict(plain.state_dict(), strict=False)
    return ours, plain


def cpu(tasks: dict[str, Callable[[], object]], images: int, repeats: int) -> dict[str, float]:
    """Best CPU seconds per image of each task, taken in turns so that all see the same machine."""
    best = dict.fromkeys(tasks, float("inf"))
    for name in tasks:
        tasks[name]()
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            best[name] = min(best[name], (time.process_time() - start) / images)
    return best


def table(title: str, rows: dict[str, float], base: str, unit: str = "CPU s/image") -> None:
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<44} {value:12.5g} {unit:<12} {value / rows[base]:8.3f} x {base}")


def forward(config: NetworkConfig, repeats: int, batch: int = 2) -> float:
    """Compare forward passes; returns the CPU seconds per image up to the midblock."""
    ours, plain = networks(config)
    x = torch.randn(batch, 3, config.img_resolution, config.img_resolution) * 80
    sigma, onehot = torch.full((batch,), 80.0), torch.eye(config.label_dim)[:batch]
    rough, _ = place(networks(config)[0], Compute(device="cpu", dtype="bf16"))
    channels_last = x.contiguous(memory_format=torch.channels_last)

    def inference(call: Callable[[], object]) -> Callable[[], object]:
        return torch.inference_mode()(call)

    with torch.inference_mode():
        taken, image = ours(x, sigma, onehot, LAYERS)
        theirs, other = plain(x, sigma, onehot, LAYERS)
        worst = max(float((taken[n] - theirs[n]).norm() / theirs[n].norm()) for n in LAYERS)
        assert worst < 1e-4, worst
        assert image is not None
        assert float((image - other).norm() / other.norm()) < 1e-4
    times = cpu(
        {
            "plain PyTorch, hooks, full forward": inference(lambda: plain(x, sigma, onehot, LAYERS)),
            "ours, full forward": inference(lambda: ours(x, sigma, onehot, LAYERS)),
            "ours, up to midblock": inference(lambda: ours(x, sigma, onehot, LAYERS, False)),
            "ours, bf16 channels_last, full": inference(lambda: rough(channels_last, sigma, onehot, LAYERS)),
            "ours, bf16 channels_last, midblock": inference(lambda: rough(channels_last, sigma, onehot, LAYERS, False)),
        },
        batch,
        repeats,
    )
    table(f"Forward passes, one thread, batch {batch} (largest difference {worst:.1e})", times, next(iter(times)))
    full, mid = times["ours, full forward"], times["ours, up to midblock"]
    print(f"  midblock / full {mid / full:.3f} (<= 0.33), full / plain {full / times[next(iter(times))]:.3f} (<= 1)")
    print(f"  float32 / bf16 channels_last: full {full / times['ours, bf16 channels_last, full']:.2f} (>= 1.8)")
    return mid


def outputs(config: NetworkConfig, count: int, batch: int) -> Iterator[Outputs]:
    rng = np.random.default_rng(0)
    shapes = {layer: config.layer_shape(layer) for layer in LAYERS}
    for start in range(0, count, batch):
        index = np.arange(start, start + batch)
        full = {layer: rng.standard_normal((batch, *shape), np.float32) for layer, shape in shapes.items()}
        images = rng.integers(0, 256, (batch, 3, 64, 64), np.uint8)
        samples = Batch(index, tuple(map(str, index)), index % 1000, images)
        flat = {layer: a.reshape(batch, -1) for layer, a in full.items()}
        norm = {layer: a[:, 0] for layer, a in flat.items()}
        yield Outputs(samples, flat, {layer: a.mean((2, 3)) for layer, a in full.items()}, norm, norm, images)


def write_all(folder: Path, config: NetworkConfig, made: list[Outputs], *, compressed: bool, images: bool) -> None:
    """What a partition's writer does with results that are there."""
    stage = Stage(Location(folder, folder / "a", folder=True), Recipe("a", "b", {}, {}, "f/1", "1"))
    stage.open(resume=False)
    pooled = {layer: Accumulator(config.layer_shape(layer)[0]) for layer in LAYERS}
    with stage.create(FEATURES) as sink, stage.create("images.tar") as tar_sink:
        features, tar = FeatureWriter(sink, {n: config.layer_shape(n)[0] for n in LAYERS}), PngTar(tar_sink)
        for number, out in enumerate(made):
            samples = [{"global_index": int(i), "original_path": f"npz_sample_{i}"} for i in out.samples.index]
            write_batch(stage, number, out.activations, samples, compressed=compressed)
            features.append(out.samples.index, out.samples.class_ids, out.pooled, out.absmax, out.norm)
            for layer in LAYERS:
                pooled[layer].add(out.pooled[layer])
            if images and out.samples.images is not None:
                for i, image in zip(out.samples.index.tolist(), out.samples.images.transpose(0, 2, 3, 1), strict=True):
                    tar.add(i, image)
        features.close()
        tar.close()
        for layer in LAYERS:
            pooled[layer].moments()
    stage.discard()


def host(config: NetworkConfig, folder: Path, forward_seconds: float) -> None:
    """Reading and writing beside the forward pass, and NPZ beside JPEG folders."""
    count, batch = 256, 64
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (count, 3, 64, 64), np.uint8)
    np.save(folder / "images.npy", pixels)
    np.savez_compressed(folder / "deflated.npz", data=pixels.reshape(count, -1))
    smooth = rng.integers(0, 256, (count, 12, 16, 3), np.uint8)
    for i, small in enumerate(smooth):
        Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
    made = list(outputs(config, count, batch))

    def read_arrays() -> None:
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        for start in range(0, count, batch):
            np.asarray(images[np.arange(start, start + batch)])

    def read_npz() -> None:
        with np.load(folder / "deflated.npz", allow_pickle=False) as archive:
            archive["data"].reshape(-1, 3, 64, 64)

    def read_jpegs() -> None:
        for i in range(count):
            with Image.open(io.BytesIO((folder / f"{i}.jpg").read_bytes())) as picture:
                resize_image(np.asarray(picture.convert("RGB")), 64, lanczos_stretch, "")

    times = cpu(
        {
            "arrays of NPZ batches, mapped": read_arrays,
            "deflated NPZ, read whole": read_npz,
            "folder of 500x375 JPEGs, decoded and resized": read_jpegs,
            "write two layers, float32": lambda: write_all(folder, config, made, compressed=False, images=False),
            "write two layers, deflated": lambda: write_all(folder, config, made, compressed=True, images=False),
            "write two layers and a PNG": lambda: write_all(folder, config, made, compressed=False, images=True),
        },
        count,
        2,
    )
    table("Reading and writing", times | {"forward to midblock": forward_seconds}, "forward to midblock")
    share = times["arrays of NPZ batches, mapped"] + times["write two layers, float32"]
    print(f"  reading and writing take {share / (share + forward_seconds):.2%} of the CPU time (<= 5 %)")
    jpeg = times["folder of 500x375 JPEGs, decoded and resized"] / times["arrays of NPZ batches, mapped"]
    print(f"  a JPEG folder costs {jpeg:.0f} times the reading of NPZ batches, and the same forward pass")


def memory(samples: int) -> None:
    """Run a small network over `samples` images and print the peak memory in MB."""
    config = NetworkConfig(img_resolution=16, model_channels=16, channel_mult=(1, 2), num_blocks=1)
    network, device = place(Denoiser(config).eval().requires_grad_(False), Compute(device="cpu"))

    def batches() -> Iterator[Batch]:
        rng = np.random.default_rng(0)
        for start in range(0, samples, 64):
            index = np.arange(start, start + 64)
            yield Batch(index, tuple(map(str, index)), index % 1000, rng.integers(0, 256, (64, 3, 16, 16), np.uint8))

    for _ in Extractor(network, device, Extraction(), layers=LAYERS)(batches()):
        pass
    status = Path("/proc/self/status").read_text()  # rusage would count the parent's peak, inherited by fork
    print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024)


def gpu(config: NetworkConfig) -> None:
    """Images per second on the card, as a share of its measured bf16 matrix rate."""
    side = 8192
    a = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)
    rate = 2 * side**3 / seconds(lambda: a @ a, 20)
    print(f"\n{torch.cuda.get_device_name()}: {rate / 1e12:.0f} TFLOP/s in bf16 matrix products")
    ours, _ = networks(config)
    for dtype, compiled in (("float32", False), ("tf32", False), ("bf16", False), ("bf16", True)):
        network, device = place(ours, Compute(device="cuda", dtype=dtype, compile=compiled))  # type: ignore[arg-type]
        for what, layers, image in (("full", LAYERS, True), ("midblock", LAYERS, False)):
            settings = Extraction(batch_size=256)
            extractor = Extractor(network, device, settings, layers=layers, image=image)
            pixels = np.random.default_rng(0).integers(0, 256, (256, 3, 64, 64), np.uint8)
            index = np.arange(256)
            batch = Batch(index, tuple(map(str, index)), index, pixels)
            list(extractor([batch] * 4))
            start = time.perf_counter()
            count = sum(len(out.samples) for out in extractor([batch] * 24))
            speed = count / (time.perf_counter() - start)
            name = f"{dtype}{', compiled' if compiled else ''}, {what}"
            print(f"  {name:<28} {speed:8.0f} images/s, {speed * GFLOP[what] * 1e9 / rate:6.1%} of the matrix rate")


def seconds(task: Callable[[], object], times: int) -> float:
    """Seconds of one call on the card."""
    task()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        task()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    if given.memory:
        return memory(given.memory)
    torch.set_num_threads(1)
    config = SMALL if given.small else NetworkConfig()
    forward_seconds = forward(config, given.repeats)
    with tempfile.TemporaryDirectory() as folder:
        host(config, Path(folder), forward_seconds)
    peaks = {}
    for count in (640, 6400):
        command = [sys.executable, __file__, "--memory", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[f"{count} samples"] = float(done.stdout)
    table("Peak memory of an extraction", peaks, "640 samples", "MB")
    if torch.cuda.is_available():
        gpu(config)
    return None


if __name__ == "__main__":
    main()

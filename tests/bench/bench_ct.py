"""CT volumes against their peers in one run: preprocessing, writing shards, reading them, and a training step.

    python tests/bench/bench_ct.py [volume] [long] [write] [read] [crops] [step]

Preprocessing is measured in a process of its own per method (CPU seconds of the fastest of three calls after imports,
and peak RSS), one thread each. "reference" is CT-CLIP's published inference arithmetic, written anew from its
description: float64 voxels, clip, trilinear torch resize of the whole volume, crop and pad. The peers are in the extra
`bench`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TARGET, GRID = (0.75, 0.75, 1.5), (480, 480, 240)
VOLUMES = {"512x512x300": ((512, 512, 300), (0.75, 0.75, 1.25)), "512x512x420": ((512, 512, 420), (0.977, 0.977, 1.0))}
ROUNDS = 3


def reference(path: Path, spacing: tuple[float, ...]) -> np.ndarray[Any, Any]:
    """The reference's arithmetic: everything whole, in the order rescale, clip, resize, normalise, crop, pad."""
    import nibabel
    import torch

    data = nibabel.load(path).get_fdata()
    data = np.clip(data * 1.0 + 0.0, -1000, 1000).transpose(2, 0, 1)
    factors = (spacing[2] / TARGET[2], spacing[0] / TARGET[0], spacing[1] / TARGET[1])
    size = [int(n * f) for n, f in zip(data.shape, factors, strict=True)]
    tensor = torch.tensor(data).unsqueeze(0).unsqueeze(0)
    data = torch.nn.functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)[0, 0].numpy()
    tensor = torch.tensor((np.transpose(data, (1, 2, 0)) / 1000).astype(np.float32))
    starts = [max((n - t) // 2, 0) for n, t in zip(tensor.shape, GRID, strict=True)]
    tensor = tensor[tuple(slice(s, s + t) for s, t in zip(starts, GRID, strict=True))]
    pads = [((t - n) // 2, t - n - (t - n) // 2) for n, t in zip(tensor.shape, GRID, strict=True)]
    return torch.nn.functional.pad(tensor, [p for pair in pads[::-1] for p in pair], value=-1).half().numpy()


def simpleitk(path: Path, spacing: tuple[float, ...]) -> np.ndarray[Any, Any]:
    """SimpleITK on one thread, with its grid's origin set so that it agrees with the reference."""
    import SimpleITK as Sitk

    Sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    image = Sitk.Cast(Sitk.Clamp(Sitk.ReadImage(str(path)), Sitk.sitkInt16, -1000, 1000), Sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetOrigin((0, 0, 0))
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    lengths = [int(n * (s / t)) for n, s, t in zip(image.GetSize(), spacing, TARGET, strict=True)]
    steps = [n * s / length for n, s, length in zip(image.GetSize(), spacing, lengths, strict=True)]
    kept = [min(length, t) for length, t in zip(lengths, GRID, strict=True)]
    first = [max(length - t, 0) // 2 for length, t in zip(lengths, GRID, strict=True)]
    origin = [(0.5 + f) * step - 0.5 * s for f, step, s in zip(first, steps, spacing, strict=True)]
    filter_ = Sitk.ResampleImageFilter()
    filter_.SetSize(kept)
    filter_.SetOutputSpacing(steps)
    filter_.SetOutputOrigin(origin)
    filter_.SetInterpolator(Sitk.sitkLinear)
    filter_.SetUseNearestNeighborExtrapolator(True)
    resampled = filter_.Execute(image)
    content = Sitk.GetArrayViewFromImage(resampled).transpose(2, 1, 0)
    out = np.full(GRID, -1, np.float16)
    box = tuple(slice((t - k) // 2, (t - k) // 2 + k) for k, t in zip(kept, GRID, strict=True))
    out[box] = content * np.float32(1e-3)
    return out


def monai(path: Path, spacing: tuple[float, ...]) -> np.ndarray[Any, Any]:
    """The usual MONAI chain; its grid differs from the reference's (corners aligned)."""
    from monai.transforms import (
        CenterSpatialCrop,
        Compose,
        EnsureChannelFirst,
        LoadImage,
        ScaleIntensityRange,
        Spacing,
        SpatialPad,
    )

    chain = Compose(
        [
            LoadImage(image_only=True),
            EnsureChannelFirst(),
            ScaleIntensityRange(-1000, 1000, -1, 1, clip=True),
            Spacing(TARGET, mode="bilinear"),
            CenterSpatialCrop(GRID),
            SpatialPad(GRID, constant_values=-1),
        ]
    )
    out: np.ndarray[Any, Any] = chain(str(path))[0].half().numpy()
    return out


_OUT = None


def ours(path: Path, spacing: tuple[float, ...]) -> np.ndarray[Any, Any]:
    """This package, into a buffer that is used again as a shard's builder does."""
    from imgassets.volumes.grid import Preprocessing
    from imgassets.volumes.nifti import read_nifti
    from imgassets.volumes.resample import resample
    from imgassets.volumes.verdict import verdict

    global _OUT
    if _OUT is None:
        _OUT = np.empty(GRID, np.float16)
    volume = read_nifti(path)
    assert verdict(volume) is None
    resample(volume, (spacing[0], spacing[1], spacing[2]), Preprocessing(), _OUT)
    return _OUT


METHODS: dict[str, Callable[[Path, tuple[float, ...]], np.ndarray[Any, Any]]] = {
    "reference": reference,
    "MONAI": monai,
    "SimpleITK": simpleitk,
    "imgassets": ours,
}


def child(method: str, path: str, spacing: tuple[float, ...], result: str) -> None:
    """Measure one method and print JSON."""
    import torch

    torch.set_num_threads(1)
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        out = METHODS[method](Path(path), spacing)
        times.append(time.process_time() - start)
    np.save(result, out)
    print(json.dumps({"cpu": min(times), "rss": peak_rss()}))


def peak_rss() -> float:
    """MB; from /proc, because getrusage counts what the parent held when it forked."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1000


def preprocessing(folder: Path, name: str) -> None:
    """The table of one volume."""
    shape, spacing = VOLUMES[name]
    path = folder / f"{name}.nii.gz"
    path.write_bytes(volume_bytes(shape, spacing))
    print(f"\nPreprocess {name} int16 .nii.gz ({path.stat().st_size / 1e6:.0f} MB) to (480, 480, 240) float16")
    print(f"{'method':12} {'CPU s':>7} {'x ours':>7} {'RSS MB':>7} {'largest difference from the reference':>38}")
    found: dict[str, dict[str, float]] = {}
    for method in METHODS:
        command = [
            sys.executable,
            __file__,
            "--child",
            method,
            str(path),
            json.dumps(spacing),
            str(folder / f"{method}.npy"),
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or [f"it ended with {run.returncode}"])[-1]
            print(f"{method:12} not installed or failed: {reason[:90]}")
            continue
        found[method] = json.loads(run.stdout.splitlines()[-1])
    truth = np.load(folder / "reference.npy").astype(np.float32)
    for method, numbers in found.items():
        worst = float(np.abs(np.load(folder / f"{method}.npy").astype(np.float32) - truth).max())
        ratio = numbers["cpu"] / found["imgassets"]["cpu"]
        print(f"{method:12} {numbers['cpu']:7.2f} {ratio:7.2f} {numbers['rss']:7.0f} {worst:38.6f}")
    share = found["imgassets"]["rss"] / found["reference"]["rss"]
    print(f"peak RSS of imgassets is {share:.2f} of the reference's")
    path.unlink()


def volume_bytes(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> bytes:
    """A chest of full size, about as compressible as a real one."""
    from imgassets.sample_data.ct_rate import chest, nifti

    return nifti(chest(shape, 0), spacing)


class NoDigest:
    """Stands in for a checksum whose cost is to be left out."""

    def update(self, data: Any) -> None:
        """Do nothing."""

    def hexdigest(self) -> str:
        """Nothing."""
        return ""


def writing(folder: Path, samples: int = 4) -> None:
    """Writing a shard: wall and CPU per sample, fsync included except for TarWriter, which has none."""
    import webdataset

    from imgassets.commit import Sink
    from imgassets.formats import ct_shard

    array = np.random.default_rng(0).normal(0, 0.4, GRID).astype(np.float16)
    batch = [ct_shard.Resampled(f"train_{i}_a_1", array, "text", (0,) * 18, GRID, TARGET, "") for i in range(samples)]

    def raw(path: Path) -> None:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        for _ in batch:
            view = memoryview(array).cast("B")
            while view:
                view = view[os.write(fd, view) :]
        os.fsync(fd)
        os.close(fd)

    def own(path: Path, digest: Any = None) -> None:
        sink = Sink(path)
        sink._digest = digest or sink._digest
        ct_shard.write_shard(sink, batch)
        sink.close()

    def own_without_checksums(path: Path) -> None:
        kept, ct_shard.hashlib.sha256 = hashlib.sha256, NoDigest  # type: ignore[misc, assignment]
        try:
            own(path, NoDigest())
        finally:
            ct_shard.hashlib.sha256 = kept  # type: ignore[misc]

    def tar_writer(path: Path) -> None:
        with webdataset.TarWriter(str(path)) as writer:
            for one in batch:
                labels = np.zeros(18, "<f4").tobytes()
                writer.write({"__key__": one.key, "bin": array.tobytes(), "cls": labels, "json": {}, "txt": "text"})

    rows = {
        "raw + fsync": raw,
        "imgassets, no checksums": own_without_checksums,
        "imgassets": own,
        "TarWriter, no fsync": tar_writer,
    }
    print("\nWrite a shard, per sample of 110.6 MB (best of 9 rounds, interleaved)")
    table("raw + fsync", {name: lambda f=f: f(folder / "shard.tar") for name, f in rows.items()}, samples, folder)


def make_split(folder: Path, samples: int = 4) -> Any:
    """A split of one shard."""
    from imgassets.commit import Sink
    from imgassets.formats import ct_shard, ct_split

    array = np.random.default_rng(0).normal(0, 0.4, GRID).astype(np.float16)
    batch = [ct_shard.Resampled(f"train_{i}_a_1", array, "text", (0,) * 18, GRID, TARGET, "") for i in range(samples)]
    sink = Sink(folder / "shard-000000.tar")
    shard = ct_shard.write_shard(sink, batch)
    sink.close()
    document = ct_split.split_manifest(
        "train", [shard], skipped=[], noted=[], class_names=[str(i) for i in range(18)], shape=GRID,
        samples_per_shard=samples, preprocessing={}, revision="",
    )  # fmt: skip
    (folder / "manifest.json").write_bytes(ct_split.dump(document))
    return ct_split.CtSplit(folder)


def reading(folder: Path) -> None:
    """Reading samples of a warm shard: map, copy, and peers."""
    import webdataset

    from imgassets.formats import ct_split

    split = make_split(folder)
    samples, target = len(split), np.empty(GRID, np.float16)
    sources = [np.array(scan.volume) for scan in split]  # as many bytes as the shard has: no row profits from a cache

    def memcpy() -> None:
        for source in sources:
            np.copyto(target, source)

    def mapped() -> None:
        for i in range(samples):
            split[i]

    def copied() -> None:
        for i in range(samples):
            np.copyto(target, split[i].volume)

    def pipeline(*handlers: Any) -> Callable[[], None]:
        def run() -> None:
            dataset = webdataset.WebDataset(split.urls, shardshuffle=False)
            for _ in dataset.decode(*handlers) if handlers else dataset:
                pass

        return run

    print("\nRead a warm shard, per sample (best of 9 rounds, interleaved)")
    rows = {"memcpy": memcpy, "map": mapped, "map and copy": copied, "webdataset, raw bytes": pipeline(),
            "webdataset, our decoders": pipeline(*ct_split.decoders())}  # fmt: skip
    table("memcpy", rows, samples, None)


def crops(folder: Path, samples: int = 24, size: int = 96, each: int = 4) -> None:
    """Epochs of crops, of one thread: the loader, and copies of the same bytes of arrays in memory."""
    import torch

    from imgassets import open_store
    from imgassets.stores.ct import CtStore
    from imgassets.stores.ct_crops import VolumeCrops

    make_split(folder, samples)
    store = open_store(folder)
    assert isinstance(store, CtStore)
    loader = store.loader(4, shuffle=True, threads=1, crop=(size,) * 3, crops=each)
    batches = [np.empty((4 * each, size, size, size), np.float16) for _ in range(3)]  # as many as the loader has
    flat, volumes = np.zeros_like(batches[0]), [np.array(scan.volume) for scan in store]
    corners = [VolumeCrops((size,) * 3, each).starts(GRID, 0, 0, row, 0).tolist() for row in range(samples)]

    def copied() -> None:
        for row, volume in enumerate(volumes):
            for k, (x, y, z) in enumerate(corners[row]):
                box = volume[x : x + size, y : y + size, z : z + size]
                np.copyto(batches[row // 4 % 3][row % 4 * each + k], box)

    def contiguous() -> None:
        for row in range(0, samples, 4):
            np.copyto(batches[row // 4 % 3], flat)

    def loaded() -> None:
        for _ in loader:
            pass

    def whole() -> None:
        for row in range(samples):
            volume = torch.from_numpy(np.array(store[row].volume))
            for k, (x, y, z) in enumerate(corners[row]):
                batches[0][k] = volume[x : x + size, y : y + size, z : z + size]

    print(f"\n{each} crops of {size}³ of each volume, warm, one thread, per volume (best of 9 rounds, interleaved)")
    rows = {"copy of the same boxes": copied, "loader(crop=)": loaded, "contiguous copy": contiguous,
            "volumes read, then cropped": whole}  # fmt: skip
    table("copy of the same boxes", rows, samples, None)


def training_step(folder: Path) -> None:
    """The guide's headline: one training step's input from a raw volume and from a preprocessed one."""
    import torch

    shape, spacing = VOLUMES["512x512x300"]
    torch.set_num_threads(1)
    (folder / "raw.nii.gz").write_bytes(volume_bytes(shape, spacing))
    split = make_split(folder)
    rows = {
        "raw volume, reference": lambda: consume(reference(folder / "raw.nii.gz", spacing)),
        "raw volume, imgassets": lambda: consume(ours(folder / "raw.nii.gz", spacing)),
        "preprocessed, imgassets": lambda: consume(split[0].volume),
    }
    print("\nInput of one training step: a float32 tensor of one volume (best of 3)")
    table("preprocessed, imgassets", rows, 1, None, rounds=3)


def consume(volume: np.ndarray[Any, Any]) -> float:
    """What a training step does first: a float32 copy, touched once."""
    import torch

    return float(torch.from_numpy(np.array(volume)).float().sum())


def table(base: str, rows: dict[str, Callable[[], object]], samples: int, folder: Path | None, rounds: int = 9) -> None:
    """Run all rows in turn, several times, and print the best wall and CPU time of each and their ratio to `base`.

    The best and not the median: what a virtual machine's host takes to give back memory falls on rows by chance.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, run in rows.items():
            if folder:
                (folder / "shard.tar").unlink(missing_ok=True)
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if number:  # the first round warms up
                found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    best = {name: [min(column) / samples * 1e3 for column in zip(*times, strict=True)]
            for name, times in found.items()}  # fmt: skip
    print(f"{'':26} {'wall ms':>9} {'CPU ms':>9} {'wall x':>8} {'CPU x':>8}   of {base}")
    for name, (wall, cpu) in best.items():
        print(f"{name:26} {wall:9.2f} {cpu:9.2f} {wall / best[base][0]:8.3f} {cpu / best[base][1]:8.3f}")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["all", *PARTS], default="all", metavar="part")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        method, path, spacing, result = arguments.child
        child(method, path, tuple(json.loads(spacing)), result)
        return
    for part in PARTS if "all" in arguments.parts else arguments.parts:
        with tempfile.TemporaryDirectory(prefix="bench-ct-") as name:
            PARTS[part](Path(name))


PARTS: dict[str, Callable[[Path], None]] = {
    "volume": lambda folder: preprocessing(folder, "512x512x300"),
    "long": lambda folder: preprocessing(folder, "512x512x420"),
    "write": writing,
    "read": reading,
    "crops": crops,
    "step": training_step,
}


if __name__ == "__main__":
    main()

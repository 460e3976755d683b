"""Other ways to store and read images, for `bench_stores`: each yields (name, write, epoch) where it is installed."""

from __future__ import annotations

import gc
import io
import os
import tarfile
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253  (only benchmarks load this)
from torch.utils.data import DataLoader, Dataset  # noqa: TID253

Epoch = Callable[[np.ndarray], int]
"""Reads the rows of an order, or all rows in an order of its own; returns the sum of the pixels it saw."""


def total(images: Any) -> int:
    """Sum of a batch's pixels."""
    array = images.numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    return int(np.add.reduce(array.reshape(-1), dtype=np.int64))


class PerItem(Dataset):
    """The usual reader: a memory map, a Pillow image and a copy for every item."""

    def __init__(self, path: Path, rows: int) -> None:
        self.images = np.memmap(path, np.uint8, "r", shape=(rows, 64, 64, 3))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        from PIL import Image

        image = Image.fromarray(np.array(self.images[index]))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class Ordered(Dataset):
    """A dataset in another order."""

    def __init__(self, dataset: Any, order: np.ndarray) -> None:
        self.dataset, self.order = dataset, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.order[index])]

    def __getitems__(self, indices: list[int]) -> Any:
        rows = self.order[indices].tolist()
        return self.dataset.__getitems__(rows) if hasattr(self.dataset, "__getitems__") else [self[i] for i in indices]


def loader(dataset: Any, workers: int, collate: Any = None, batch: int = 256) -> DataLoader:
    """A torch DataLoader over a dataset in its own order."""
    return DataLoader(dataset, batch_size=batch, num_workers=workers, collate_fn=collate)


def peers(folder: Path, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[str, Callable[[], None], Epoch, int]]:
    """Name, writer, epoch, and the number of worker processes the epoch uses; those that are not installed are told."""
    for function in (_webdataset, _hugging_face, _mosaic, _litdata):
        try:
            yield from function(folder / function.__name__, images, labels)
        except ImportError as error:
            print(f"  ({function.__name__[1:]} is not installed: {error})")


def _webdataset(folder: Path, images: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
    import webdataset as wds

    def write() -> None:
        folder.mkdir(exist_ok=True)
        with wds.ShardWriter(str(folder / "%06d.tar"), maxcount=5000, verbose=0) as sink:
            for k, (image, label) in enumerate(zip(images, labels, strict=True)):
                sink.write({"__key__": f"{k:09d}", "bin": image.tobytes(), "cls": int(label)})

    def epoch(order: np.ndarray) -> int:
        urls = [str(path) for path in sorted(folder.glob("*.tar"))]
        dataset = wds.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000).to_tuple("bin", "cls").batched(256)
        count = sum(total(np.frombuffer(b"".join(batch), np.uint8)) for batch, _ in dataset)
        del dataset
        gc.collect()
        return count

    yield "webdataset", write, epoch, 0


def _hugging_face(folder: Path, images: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
    import datasets

    datasets.disable_progress_bars()

    def write() -> None:
        features = datasets.Features({"image": datasets.Value("binary"), "label": datasets.Value("int64")})
        rows = {"image": [image.tobytes() for image in images], "label": labels}
        made = datasets.Dataset.from_dict(rows, features=features)
        made.save_to_disk(str(folder / "data"))

    def epoch(order: np.ndarray) -> int:
        found = datasets.load_from_disk(str(folder / "data"))
        batches = (found[order[at : at + 256].tolist()]["image"] for at in range(0, len(order), 256))
        return sum(total(np.frombuffer(b"".join(batch), np.uint8)) for batch in batches)

    yield "HF datasets, binary column", write, epoch, 0


def _mosaic(folder: Path, images: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
    import sys

    stub = types.ModuleType("torchvision")  # imported by the package, not used here
    stub.transforms, stub.datasets = types.ModuleType("transforms"), types.ModuleType("datasets")  # type: ignore
    for name, module in (("", stub), (".transforms", stub.transforms), (".datasets", stub.datasets)):
        sys.modules.setdefault(f"torchvision{name}", module)
    for path, names in (("transforms.functional", ["to_tensor"]), ("datasets", ["VisionDataset"])):
        module = sys.modules.setdefault(f"torchvision.{path}", types.ModuleType(path))
        for name in names:
            setattr(module, name, object)
    from streaming import MDSWriter, StreamingDataset

    def write() -> None:
        with MDSWriter(out=str(folder), columns={"image": "bytes", "label": "int"}, size_limit=1 << 26) as out:
            for image, label in zip(images, labels, strict=True):
                out.write({"image": image.tobytes(), "label": int(label)})

    def epoch(order: np.ndarray) -> int:
        found = StreamingDataset(local=str(folder), shuffle=True, batch_size=256)
        return sum(total(np.frombuffer(found[int(k)]["image"], np.uint8)) for k in order)

    yield "mosaicml-streaming MDS", write, epoch, 0


def _litdata(folder: Path, images: np.ndarray, labels: np.ndarray) -> Iterator[Any]:
    import litdata
    from litdata.streaming.writer import BinaryWriter

    def write() -> None:
        folder.mkdir(exist_ok=True)
        writer = BinaryWriter(str(folder), chunk_bytes=1 << 26)
        for k, (image, label) in enumerate(zip(images, labels, strict=True)):
            writer[k] = (image.tobytes(), int(label))
        writer.done()
        writer.merge()

    def epoch(order: np.ndarray) -> int:
        found = litdata.StreamingDataset(str(folder), shuffle=True)
        return sum(total(np.frombuffer(image, np.uint8)) for image, _ in found)

    yield "litdata", write, epoch, 0


def fsync_tree(folder: Path) -> None:
    """Make what a peer wrote durable: none of them does."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


def tar_of(path: Path, files: list[bytes]) -> None:
    """A tar of files as Python's own module writes it."""
    with tarfile.open(path, "w") as out:
        for k, data in enumerate(files):
            info = tarfile.TarInfo(f"{k:06d}.jpg")
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))


warnings.simplefilter("ignore")

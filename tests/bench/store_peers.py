"""Other ways to store and read images of one size, for `bench_stores`; those that are not installed are told.

All of them hand over batches of 256. Where a package has a loader of its own, that is what runs with two workers.
"""

from __future__ import annotations

import os
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch  # noqa: TID253  (only benchmarks load this)
from torch.utils.data import DataLoader, Dataset  # noqa: TID253

BATCH = 256
os.environ.setdefault("TQDM_DISABLE", "1")


class Peer(NamedTuple):
    """A way to store images."""

    name: str
    write: Callable[[], None]
    epoch: Callable[[np.ndarray], Iterator[Any]] | None
    """Batches in one process, in the given order or in one of its own."""
    loader: Callable[[], Iterable[Any]] | None
    """Made once; iterated, an epoch by two workers."""


def cuts(order: np.ndarray) -> Iterator[np.ndarray]:
    """An order in batches."""
    return (order[at : at + BATCH] for at in range(0, len(order), BATCH))


def pixels(rows: Iterable[bytes]) -> np.ndarray:
    """One batch from the bytes of its images."""
    return np.frombuffer(b"".join(rows), np.uint8)


class PerItem(Dataset):
    """The usual reader: a memory map, and a Pillow image for every item."""

    def __init__(self, path: Path, rows: int) -> None:
        self.images = np.memmap(path, np.uint8, "r", shape=(rows, 64, 64, 3))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        from PIL import Image

        image = Image.fromarray(np.array(self.images[index]))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def torch_loader(dataset: Any, collate: Any = None, **settings: Any) -> DataLoader:
    """A torch DataLoader with two workers that stay for all epochs."""
    return DataLoader(
        dataset, BATCH, num_workers=2, collate_fn=collate, **{"shuffle": True, "persistent_workers": True, **settings}
    )


def peers(folder: Path, images: np.ndarray, labels: np.ndarray) -> Iterator[Peer]:
    """Every peer that is installed."""
    for function in (_webdataset, _hugging_face, _mosaic, _litdata, _ffcv):
        try:
            yield function(folder / function.__name__, images, labels)
        except ImportError as error:
            print(f"  ({function.__name__[1:]} is not installed: {error})")


def _webdataset(folder: Path, images: np.ndarray, labels: np.ndarray) -> Peer:
    import webdataset as wds

    def write() -> None:
        folder.mkdir(parents=True)
        with wds.ShardWriter(str(folder / "%06d.tar"), maxcount=max(1, len(images) // 4), verbose=0) as sink:
            for k, (image, label) in enumerate(zip(images, labels, strict=True)):
                sink.write({"__key__": f"{k:09d}", "bin": image.tobytes(), "cls": int(label)})

    def dataset() -> Any:
        urls = [str(path) for path in sorted(folder.glob("*.tar"))]
        return wds.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000).to_tuple("bin", "cls").batched(BATCH)

    def epoch(order: np.ndarray) -> Iterator[Any]:
        return (pixels(images) for images, _ in dataset())

    def loader() -> Any:
        whole = dataset().map_tuple(pixels, lambda labels: labels)
        return (  # whole batches come from the workers
            batch for batch, _ in DataLoader(whole, None, num_workers=2)
        )

    return Peer("webdataset, buffer shuffle", write, epoch, lambda: Again(loader))


class Again:
    """An iterable that is made anew for every epoch."""

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())


def _hugging_face(folder: Path, images: np.ndarray, labels: np.ndarray) -> Peer:
    import datasets

    datasets.disable_progress_bars()

    def write() -> None:
        features = datasets.Features({"image": datasets.Value("binary"), "label": datasets.Value("int64")})
        rows = {"image": [image.tobytes() for image in images], "label": labels}
        datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(folder))

    def epoch(order: np.ndarray) -> Iterator[Any]:
        found = datasets.load_from_disk(str(folder))
        return (pixels(found[rows.tolist()]["image"]) for rows in cuts(order))

    def loader() -> Any:
        return torch_loader(
            datasets.load_from_disk(str(folder)), lambda items: torch.from_numpy(pixels(i["image"] for i in items))
        )

    return Peer("HF datasets, binary column", write, epoch, loader)


def _mosaic(folder: Path, images: np.ndarray, labels: np.ndarray) -> Peer:
    _stubs()
    try:
        from streaming import MDSWriter, StreamingDataset
    finally:
        for name in UNUSED:  # what looks for them later must not take them for real
            if not getattr(sys.modules.get(name), "__file__", None):
                sys.modules.pop(name, None)

    def write() -> None:
        with MDSWriter(out=str(folder), columns={"image": "bytes", "label": "int"}, size_limit=1 << 26) as out:
            for image, label in zip(images, labels, strict=True):
                out.write({"image": image.tobytes(), "label": int(label)})

    def opened() -> Any:
        return StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)

    def epoch(order: np.ndarray) -> Iterator[Any]:
        found = opened()
        return (pixels(found[int(k)]["image"] for k in rows) for rows in cuts(order))

    def loader() -> Any:
        return torch_loader(opened(), lambda items: torch.from_numpy(pixels(i["image"] for i in items)), shuffle=False)

    return Peer("MosaicML streaming (MDS)", write, epoch, loader)


UNUSED = {
    "torchvision": (),
    "torchvision.transforms": (),
    "torchvision.transforms.functional": ("to_tensor",),
    "torchvision.datasets": ("VisionDataset",),
    "transformers": (),
    "transformers.feature_extraction_utils": ("BatchFeature",),
    "transformers.tokenization_utils_base": ("BatchEncoding",),
    "transformers.models": (),
    "transformers.models.auto": (),
    "transformers.models.auto.tokenization_auto": ("AutoTokenizer",),
}
"""What MosaicML streaming imports for types that are not used here, a gigabyte to install."""


def _stubs() -> None:
    if find_spec("torchvision"):
        return
    for name, attributes in UNUSED.items():
        module = sys.modules[name] = types.ModuleType(name)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
        for attribute in attributes:
            setattr(module, attribute, type(attribute, (), {}))


def _litdata(folder: Path, images: np.ndarray, labels: np.ndarray) -> Peer:
    import litdata
    from litdata.streaming.writer import BinaryWriter

    def write() -> None:
        folder.mkdir(parents=True)
        writer = BinaryWriter(str(folder), chunk_bytes=1 << 26)
        for k, (image, label) in enumerate(zip(images, labels, strict=True)):
            writer[k] = (image.tobytes(), int(label))
        writer.done()
        writer.merge()

    def epoch(order: np.ndarray) -> Iterator[Any]:
        found = iter(litdata.StreamingDataset(str(folder), shuffle=True))
        return (pixels(image for image, _ in _take(found, len(rows))) for rows in cuts(order))

    def loader() -> Any:
        return litdata.StreamingDataLoader(
            litdata.StreamingDataset(str(folder), shuffle=True),
            batch_size=BATCH,
            num_workers=2,
            persistent_workers=True,
            collate_fn=lambda items: torch.from_numpy(pixels(image for image, _ in items)),
        )

    return Peer("litdata, its own shuffle", write, epoch, loader)


def _take(items: Iterator[Any], count: int) -> Iterator[Any]:
    return (item for item, _ in zip(items, range(count), strict=False))


def _ffcv(folder: Path, images: np.ndarray, labels: np.ndarray) -> Peer:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import Squeeze, ToTensor
    from ffcv.writer import DatasetWriter

    path = folder / "all.beton"

    def write() -> None:
        folder.mkdir(parents=True)
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        rows = [(image.transpose(1, 2, 0), label) for image, label in zip(images, labels, strict=True)]
        DatasetWriter(str(path), fields, num_workers=2).from_indexed_dataset(rows)

    def opened(workers: int) -> Any:
        pipelines = {
            "image": [SimpleRGBImageDecoder(), ToTensor()],
            "label": [IntDecoder(), ToTensor(), Squeeze()],
        }
        return Loader(
            str(path),
            batch_size=BATCH,
            num_workers=workers,
            order=OrderOption.RANDOM,
            os_cache=True,
            drop_last=False,
            pipelines=pipelines,
        )

    kept: list[Any] = []  # it compiles when it is made

    def epoch(order: np.ndarray) -> Iterator[Any]:
        if not kept:
            kept.append(opened(1))
        return (images for images, _ in kept[0])

    return Peer("FFCV, raw images", write, epoch, lambda: First(opened(2)))


class First:
    """The images alone."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return (images for images, _ in self.batches)


warnings.simplefilter("ignore")

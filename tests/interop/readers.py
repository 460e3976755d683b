"""What other programs make of our files, each cell of the table by the program itself: `readers.py INPUTS OUT`.

INPUTS is a folder of stores, `<format>/<kind>/`; OUT gets a JSON file of [[reader, format, kind, how, rows], …], where
rows are [digest of the pixels, label]. `how` says what the reader is given: the folder, `data/` or the files in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Rows = Iterable[tuple[Any, Any]]
Read = Callable[[Path], Rows]
CELLS: list[tuple[str, str, str, Read]] = []


def cell(reader: str, format_: str, how: str) -> Callable[[Read], Read]:
    """A function that reads a store of a format by a program."""

    def add(read: Read) -> Read:
        CELLS.append((reader, format_, how, read))
        return read

    return add


def digest(image: Any) -> str:
    """Of the pixels, whatever they come as: an image file's bytes, Pillow's image, an array or its bytes."""
    if isinstance(image, dict):
        image = image["bytes"]
    if isinstance(image, bytes) and image[:4] in (b"\xff\xd8\xff\xe0", b"\x89PNG"):
        image = Image.open(io.BytesIO(image))
    raw = image if isinstance(image, bytes) else np.ascontiguousarray(np.asarray(image)).tobytes()
    return hashlib.sha256(raw).hexdigest()


def main(inputs: Path, out: Path) -> None:
    """Read everything that is there."""
    found = []
    for reader, format_, how, read in CELLS:
        for path in sorted((inputs / format_).iterdir()):
            rows = [[digest(image), np.asarray(label).tolist()] for image, label in read(path)]
            found.append([reader, format_, path.name, how, rows])
    out.write_text(json.dumps(found))


@cell("pyarrow.dataset", "parquet", "the folder")
def _(path: Path) -> Rows:
    import pyarrow.dataset as ds

    table = ds.dataset(path, format="parquet").to_table()
    return zip(table["image"].to_pylist(), table["label"].to_pylist(), strict=True)


@cell("pandas", "parquet", "the folder")
def _(path: Path) -> Rows:
    import pandas

    table = pandas.read_parquet(path)
    return zip(table["image"], table["label"], strict=True)


@cell("polars", "parquet", "its `data/`")
def _(path: Path) -> Rows:
    import polars

    table = polars.read_parquet(path / "data")
    return zip(table["image"].to_list(), table["label"].to_list(), strict=True)


@cell("DuckDB", "parquet", "the folder")
def _(path: Path) -> Rows:
    import duckdb

    found = duckdb.read_parquet(str(path)).order("filename, file_row_number").project("image, label")
    return [(image, label) for image, label in found.fetchall()]


def load(path: Path) -> Any:
    """`load_dataset(folder)`, which must find the split and, of images, the names of classes."""
    import datasets

    datasets.disable_progress_bars()
    found = datasets.load_dataset(str(path), cache_dir=os.environ["CACHE"])
    assert list(found) == ["val"], found
    return found["val"]


def named(features: Any, label: str) -> None:
    """Labels are of classes with names."""
    assert features[label].names == ["cat", "dog"], features


@cell("datasets", "parquet", "the folder")
@cell("datasets", "ipc", "the folder")
def _(path: Path) -> Rows:
    table = load(path)
    named(table.features, "label")
    wanted = "fixed_size_binary" if path.name == "pixels" else "Image"
    assert wanted in str(table.features["image"]), table.features
    return ((row["image"], row["label"]) for row in table)


@cell("datasets", "tar", "the folder")
def _(path: Path) -> Rows:
    table = load(path)
    named(table.features, "cls")
    for row in table:
        image = next(row[name] for name in ("jpg", "png", "npy") if row.get(name) is not None)
        yield (np.asarray(image, np.uint8) if isinstance(image, list) else image), row["cls"]


@cell("webdataset", "tar", "the files")
def _(path: Path) -> Rows:
    import webdataset

    urls = [str(file) for file in sorted(path.glob("*.tar"))]
    for row in webdataset.WebDataset(urls, shardshuffle=False).decode("pil"):
        yield next(row[name] for name in ("jpg", "png", "npy") if name in row), row["cls"]


@cell("webdataset", "ct_npy", "the files")
def _(path: Path) -> Rows:
    import webdataset

    urls = [str(file) for file in sorted(path.glob("*.tar"))]
    for row in webdataset.WebDataset(urls, shardshuffle=False).decode():
        assert row["json"]["study_id"] == row["__key__"]
        assert isinstance(row["report.txt"], str)
        yield row["volume.npy"], row["labels.npy"]


@cell("datasets", "ct_npy", "the folder")
def _(path: Path) -> Rows:
    import datasets

    found = datasets.load_dataset(str(path), cache_dir=os.environ["CACHE"])
    assert list(found) == ["valid"], found
    table = found["valid"]
    return ((np.asarray(row["volume.npy"], np.float16), row["labels.npy"]) for row in table)


@cell("Arrow libraries", "ipc", "the files")
def _(path: Path) -> Rows:
    import polars
    import pyarrow as pa

    for file in sorted(path.glob("*.arrow")):
        with pa.memory_map(str(file)) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
            other = polars.read_ipc(file)
            assert other["label"].to_list() == table["label"].to_pylist()
            yield from zip(table["image"].to_pylist(), table["label"].to_pylist(), strict=True)


@cell("h5py", "hdf5", "the files")
def _(path: Path) -> Rows:
    import h5py

    for name in sorted(path.glob("*.h5")):
        with h5py.File(name) as file:
            if isinstance(file["image"], h5py.Dataset):
                yield from zip(file["image"][:], file["label"][:], strict=True)
            else:
                data, offsets = file["image/data"], file["image/offsets"][:]
                for k, label in enumerate(file["label"][:]):
                    yield data[offsets[k] : offsets[k + 1]].tobytes(), label


@cell("np.load", "memmap", "the files")
def _(path: Path) -> Rows:
    for name in sorted(path.glob("*.label.npy")):
        labels, stem = np.load(name), name.name.removesuffix(".label.npy")
        if (path / f"{stem}.image.npy").exists():
            images: Any = np.load(path / f"{stem}.image.npy", mmap_mode="r")
        else:
            data, ends = (path / f"{stem}.image.bin").read_bytes(), np.load(path / f"{stem}.image.offsets.npy")
            images = [data[ends[k] : ends[k + 1]] for k in range(len(labels))]
        yield from zip(images, labels, strict=True)


@cell("np.load", "arrays", "the files")
def _(path: Path) -> Rows:
    images, labels = (np.load(path / f"{name}.npy", mmap_mode="r") for name in ("images", "labels"))
    return zip(images.transpose(0, 2, 3, 1), labels, strict=True)


@cell("np.load", "activations", "the files")
def _(path: Path) -> Rows:
    for name in sorted(path.glob("*.npz")):
        samples = json.loads(name.with_suffix(".json").read_text())["samples"]
        with np.load(name, allow_pickle=False) as found:
            yield from zip(found["midblock"], [sample["class_id"] for sample in samples], strict=True)


def opened(path: Path) -> Any:
    """Our own dataset, of pixels as height, width, channels; what a map-style consumer is given."""
    from imgassets import open_store

    if "ct" in path.parts[-2]:
        return open_store(path)
    return open_store(path, transform=np.asarray)


def plain(items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for item in items:
        yield item[0], item[-1]


STORES = ("memmap", "hdf5", "parquet", "ipc", "tar", "arrays", "ct_guide", "ct_npy")


def map_style(path: Path) -> Rows:
    """torch's own DataLoader."""
    import torch

    return plain(torch.utils.data.DataLoader(opened(path), batch_size=None, num_workers=0))


def by_grain(path: Path) -> Rows:
    """Grain's loader over the same dataset."""
    import grain

    return plain(grain.MapDataset.source(opened(path)))


for _format in STORES:
    cell("torch DataLoader", _format, "the folder, by `open_store`")(map_style)
    cell("Grain", _format, "the folder, by `open_store`")(by_grain)


@cell("MONAI", "ct_guide", "the folder, by `open_store`")
def _(path: Path) -> Rows:
    from monai.data import CacheDataset
    from monai.transforms import EnsureTyped

    store = opened(path)
    items = [{"image": volume, "label": label} for volume, _, label in store]
    cached = CacheDataset(items, EnsureTyped(["image", "label"], dtype=None), num_workers=2, progress=False)
    return ((item["image"].numpy(), item["label"]) for item in cached)


@cell("nibabel", "ct_guide", "a volume, by `open_store`")
def _(path: Path) -> Rows:
    import nibabel

    for volume, _, label in opened(path):
        image = nibabel.Nifti1Image(volume.astype(np.float32), np.eye(4))
        yield image.get_fdata(dtype=np.float32).astype(np.float16), label


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

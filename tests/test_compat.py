"""The conversion-library guide's examples, with only their imports changed; its stores, read."""

from __future__ import annotations

import copy
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # noqa: TID253  (only tests load this)
import numpy as np
import pyarrow as pa  # noqa: TID253
import pyarrow.parquet as pq  # noqa: TID253
import pytest
import torch  # noqa: TID253
from PIL import Image
from torch.utils.data import DataLoader, Dataset  # noqa: TID253

import imgassets
from imgassets import compat, convert, open_store
from imgassets.compat import (
    ConverterFixedSize,
    ConverterFlexibleSize,
    CustomDistributedSampler,
    DenseIpcConverter,
    DenseIpcReader,
    DenseMemmapConverter,
    DenseMemmapReader,
    HDF5Converter,
    HDF5Reader,
    IpcConverter,
    IpcReader,
    MemmapConverter,
    MemmapReader,
    ParquetConverter,
    ParquetReader,
    Reader,
    ResizeAndConvert,
    TarConverter,
    TarReader,
    distributedConverter,
    get_number_of_channels,
    image_to_binary,
)
from imgassets.errors import BadInput, StoreError
from imgassets.operations.inspect import describe, reports
from imgassets.testing.making import encoded, folder, picture


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


class Digits(Dataset):
    """A dataset of grayscale pictures."""

    def __init__(self, transform: Callable[[Any], Any] | None = None) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = picture(index, 28, 28, "L")
        return (image if self.transform is None else self.transform(image)), index % 10


class Segments(Dataset):
    """A dataset of pictures with label images of varying size."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        label = np.random.default_rng(index).integers(0, 21, (10 + index, 12)).astype(np.uint8)
        return picture(index, 10 + index, 12), Image.fromarray(label)


def test_the_public_names() -> None:
    assert imgassets.__all__ == ["Store", "collate", "convert", "open_store", "project", "resources"]
    assert all(hasattr(imgassets, name) for name in imgassets.__all__)
    assert len(compat.__all__) == len(set(compat.__all__)) == 26
    assert compat.Hdf5Converter is HDF5Converter
    assert compat.Hdf5Reader is HDF5Reader


@pytest.mark.parametrize("name", compat.__all__)
def test_where_the_names_stood_before_they_are_for_one_release_more(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"import {name} from imgassets.compat"):
        assert getattr(imgassets, name) is getattr(compat, name)


def test_other_names_are_still_missing() -> None:
    with pytest.raises(AttributeError, match="'imgassets' has no attribute 'MemmapWriter'"):
        getattr(imgassets, "MemmapWriter")  # noqa: B009


def test_memmap_of_a_folder(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    converter = MemmapConverter(
        input_data=str(root),
        output_path=str(tmp_path / "out"),
        images_per_file=10,
        batch_size=3,
        num_workers=4,
        shape=(32, 24),
        im_mode="RGB",
    )
    converter.convert()
    reader = MemmapReader(dataset_path=str(tmp_path / "out"))
    assert (reader.len, reader.images_per_file, reader.mode, reader.shape) == (23, 10, "RGB", (32, 24))
    assert reader.class_to_idx == converter.class_to_idx == {"class1": 0, "class10": 1, "class2": 2, "größe 猫": 3}
    dataloader = DataLoader(reader, batch_size=8, num_workers=2, worker_init_fn=MemmapReader.worker_init_fn)
    assert [images.shape for images, _ in dataloader] == [(8, 3, 32, 24), (8, 3, 32, 24), (7, 3, 32, 24)]


@pytest.mark.parametrize("converter", [MemmapConverter, HDF5Converter])
def test_a_torch_dataset_of_one_size(tmp_path: Path, converter: Any) -> None:
    converter(
        input_data=Digits(transform=ResizeAndConvert((32, 40), "RGB")),
        output_path=str(tmp_path / "out"),
        images_per_file=1000,
        batch_size=100,
        num_workers=4,
        shape=(32, 40),
        im_mode="RGB",
    ).convert()
    reader = HDF5Reader(dataset_path=str(tmp_path / "out"), transform=np.asarray)
    wanted, label = Digits(ResizeAndConvert(size=(32, 40), mode="RGB"))[5]
    np.testing.assert_array_equal(reader[5][0], np.asarray(wanted))
    assert reader[5][1] == label


@pytest.mark.parametrize(
    ("converter", "reader"),
    [(ParquetConverter, ParquetReader), (IpcConverter, IpcReader), (TarConverter, TarReader)],
)
def test_files_of_any_size(tmp_path: Path, converter: Any, reader: Any) -> None:
    root = folder(tmp_path / "data")
    converter(str(root), str(tmp_path / "out"), images_per_file=7, batch_size=5, num_workers=1).convert()
    found = reader(str(tmp_path / "out"), transform=lambda image: image.size)
    for k in range(len(found)):
        assert bytes(found.raw(k)) == (root / found.name(k)).read_bytes()
    with Image.open(root / found.name(2)) as image:
        assert found[2][0] == image.size
    converter(Digits(), str(tmp_path / "digits"), images_per_file=7, batch_size=5, num_workers=1).convert()
    images = open_store(tmp_path / "digits")
    np.testing.assert_array_equal(images[3][0][0].numpy(), np.asarray(Digits()[3][0]))


def test_dense_labels(tmp_path: Path) -> None:
    DenseMemmapConverter(
        Segments(), str(tmp_path / "m"), images_per_file=4, batch_size=2, num_workers=1, shape=(8, 6), im_mode="RGB"
    ).convert()
    reader = DenseMemmapReader(
        dataset_path=str(tmp_path / "m"), transform=lambda x: x.size, target_transform=lambda y: (y.mode, y.size)
    )
    assert reader[8] == ((6, 8), ("L", (6, 8)))
    DenseIpcConverter(Segments(), str(tmp_path / "i"), images_per_file=4, batch_size=2, num_workers=1).convert()
    plain = DenseIpcReader(dataset_path=str(tmp_path / "i"), transform=None, target_transform=None)
    for k in range(9):
        np.testing.assert_array_equal(plain[k][1].numpy(), np.asarray(Segments()[k][1]))
        np.testing.assert_array_equal(plain[k][0].permute(1, 2, 0).numpy(), np.asarray(Segments()[k][0]))


def test_distributed_by_slurm_s_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "data")
    arguments: dict[str, Any] = {
        "input_data": str(root),
        "images_per_file": 2,
        "batch_size": 2,
        "num_workers": 1,
        "shape": (8, 8),
        "im_mode": "RGB",
    }
    MemmapConverter(output_path=str(tmp_path / "one" / "x"), **arguments).convert()
    for world in (1, 5):
        monkeypatch.setattr("imgassets.compat.converters.WAIT", 0.0)
        for rank in range(world):
            monkeypatch.setenv("SLURM_PROCID", str(rank))
            monkeypatch.setenv("SLURM_NTASKS", str(world))
            converter = MemmapConverter(output_path=str(tmp_path / str(world) / "x"), dist=True, **arguments)
            assert (converter.rank, converter.num_replicas) == (rank, world)
            if rank == world - 1:
                converter.convert()
            else:
                with pytest.raises(Exception, match="other ranks"):
                    converter.convert()
        files = {p.name: p.read_bytes() for p in (tmp_path / str(world) / "x").iterdir()}
        assert files == {p.name: p.read_bytes() for p in (tmp_path / "one" / "x").iterdir()}


@pytest.mark.parametrize(("rows", "per_file", "world"), [(105, 10, 12), (105, 10, 1), (7, 10, 3), (100, 10, 4)])
def test_the_sampler_leaves_nothing_out(rows: int, per_file: int, world: int) -> None:
    samplers = [CustomDistributedSampler(range(rows), per_file, num_replicas=world, rank=r) for r in range(world)]
    assert [k for sampler in samplers for k in sampler] == list(range(rows))
    assert sum(map(len, samplers)) == rows
    assert all(sampler.start_index % per_file == 0 or len(sampler) == 0 for sampler in samplers)


@distributedConverter
class NpzConverter(ConverterFixedSize):
    """A format of one's own, as the guide shows: arrays that are filled, then saved."""

    @staticmethod
    def _custom_collate_fn(batch: Any) -> Any:
        return np.stack([np.array(image) for image, _ in batch]), np.array([label for _, label in batch])

    def _init_arrays(self) -> None:
        assert self.shape is not None
        assert self.im_mode is not None
        shape = (*self.shape, get_number_of_channels(self.im_mode))
        counts = [self.images_per_file] * self.num_arrays + [self.len_last_array] * (self.len_last_array > 0)
        self.im_list = [np.zeros((n, *shape), np.uint8) for n in counts]
        self.labels_list = [np.zeros(n, np.int64) for n in counts]


@distributedConverter
class JsonConverter(ConverterFlexibleSize):
    """Another one."""

    @staticmethod
    def _custom_collate_fn(batch: Any) -> Any:
        return [image_to_binary(image) for image, _ in batch], [label for _, label in batch]

    def _write_data_to_disk(self, images: list[bytes], labels: list[int], file_number: int) -> None:
        path = os.path.join(self.output_path, "labels", f"labels_{file_number}.json")
        with open(path, "w") as file:
            json.dump([[len(image) for image in images], labels], file)


def test_formats_of_one_s_own(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    fixed = NpzConverter(str(root), str(tmp_path / "a"), 10, batch_size=4, num_workers=0, shape=(6, 5), im_mode="RGB")
    fixed.convert()
    assert [len(images) for images in fixed.im_list] == [10, 10, 3]
    wanted = [np.array(image) for image, _ in fixed.input_dataset]
    np.testing.assert_array_equal(np.concatenate(fixed.im_list), wanted)
    np.testing.assert_array_equal(np.concatenate(fixed.labels_list), [label for _, label in fixed.input_dataset])
    JsonConverter(str(root), str(tmp_path / "b"), 10, batch_size=4, num_workers=0).convert()
    counts = [json.loads((tmp_path / "b" / "labels" / f"labels_{k}.json").read_text()) for k in range(3)]
    assert [len(labels) for _, labels in counts] == [10, 10, 3]


@distributedConverter
class PairsConverter(ConverterFixedSize):
    """Images and a label for every pixel, raw, with a loop of its own: what the guide's dense example is."""

    @staticmethod
    def _custom_collate_fn(batch: Any) -> Any:
        return np.stack([np.array(image) for image, _ in batch]), np.stack([np.array(label) for _, label in batch])

    def _init_arrays(self) -> None:
        assert self.shape
        channels = get_number_of_channels(self.im_mode or "")
        shape = self.shape if channels == 1 else (*self.shape, channels)
        first = self.sampler.array_per_task * (self.rank or 0) if self.sampler else 0
        last = self.sampler is None or self.rank == (self.num_replicas or 1) - 1
        end = self.num_arrays if last else first + self.sampler.array_per_task
        sizes = dict.fromkeys(range(first, end), self.images_per_file)
        if last and self.len_last_array:
            sizes[self.num_arrays] = self.len_last_array
            self.num_arrays += 1
        self.im_list, self.labels_list = [], []
        for name, arrays in (("images", self.im_list), ("labels", self.labels_list)):
            os.makedirs(os.path.join(self.output_path, name), exist_ok=True)
            for n, rows in sizes.items():
                path = os.path.join(self.output_path, name, f"{name}_{n}.npy")
                arrays.append(np.memmap(path, np.uint8, "w+", shape=(rows, *shape)))

    def _convert_to_format(self) -> None:
        loader: Any = DataLoader(
            self.input_dataset, self.batch_size, sampler=self.sampler, collate_fn=self._custom_collate_fn
        )
        array = place = 0
        for images, labels in loader:
            self.im_list[array][place : place + len(images), :] = images
            self.labels_list[array][place : place + len(images), :] = labels
            place += len(images)
            if place % self.images_per_file == 0:
                array, place = array + 1, 0


class PairsReader(Reader):
    """Its reader."""

    def _read(self) -> tuple[Any, Any]:
        found = []
        for name in ("images", "labels"):
            folder = os.path.join(self.dataset_path, name)
            paths = [os.path.join(folder, file) for file in sorted(os.listdir(folder), key=self.custom_sort)]
            found.append([np.memmap(path, np.uint8, "r").reshape(-1, *self.shape, 3) for path in paths])
        return found[0], found[1]

    def __getitem__(self, index: int) -> Any:
        file, place = divmod(index, self.images_per_file)
        pair = self.im_list[file][place], self.labels_list[file][place]
        image, label = (Image.fromarray(np.array(pixels)) for pixels in pair)
        return (self.transform(image) if self.transform else image), label


class Pairs(Dataset):
    """Pictures with pictures of the same size as labels."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return picture(index, 6, 5), picture(100 + index, 6, 5)


@pytest.mark.parametrize("world", [0, 3])
def test_a_dense_format_of_one_s_own(tmp_path: Path, world: int) -> None:
    settings: dict[str, Any] = {"images_per_file": 4, "batch_size": 2, "num_workers": 0, "shape": (6, 5)}
    for rank in range(max(world, 1)):
        dist = {"dist": True, "rank": rank, "num_replicas": world} if world else {}
        PairsConverter(Pairs(), str(tmp_path), im_mode="RGB", **settings, **dist).convert()
    reader = PairsReader(str(tmp_path))
    assert len(reader) == 22
    assert (reader.images_per_file, reader.len_last_array, reader.total_num_arrays) == (4, 2, 6)
    assert (reader.mode, reader.shape, reader.class_to_idx) == ("RGB", (6, 5), None)
    ours = open_store(tmp_path)
    for k in (0, 3, 4, 21):
        image, label = Pairs()[k]
        for found, wanted in zip(copy.deepcopy(reader)[k], (image, label), strict=True):
            np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))
        np.testing.assert_array_equal(ours[k][0].permute(1, 2, 0).numpy(), np.asarray(image))
        np.testing.assert_array_equal(ours[k][1].numpy(), np.asarray(label))


def test_files_that_cannot_be_dealt_out_evenly_are_no_array_per_task() -> None:
    with pytest.raises(BadInput, match="11 files"):
        _ = CustomDistributedSampler(range(105), 10, num_replicas=4, rank=0).array_per_task
    assert CustomDistributedSampler(range(105), 10, num_replicas=5, rank=4).array_per_task == 2


def test_a_flexible_format_of_one_s_own_is_opened(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")

    class Own(ConverterFlexibleSize):
        @staticmethod
        def _custom_collate_fn(batch: Any) -> Any:
            return [image_to_binary(image) for image, _ in batch], [label for _, label in batch]

        def _write_data_to_disk(self, images: list[Any], labels: list[Any], file_number: int) -> None:
            for name, rows in (("images", images), ("labels", labels)):
                path = os.path.join(self.output_path, name, f"{name}_{file_number}.parquet")
                pq.write_table(pa.table({name: rows}), path)

    converter = Own(str(root), str(tmp_path / "out"), 10, batch_size=4, num_workers=0)
    converter.convert()
    reader = ParquetReader(str(tmp_path / "out"))
    assert (len(reader), reader.total_num_arrays, reader.len_last_array) == (23, 3, 3)
    assert reader.class_to_idx == converter.class_to_idx
    assert not hasattr(reader, "shape")
    assert [reader[k][1] for k in range(23)] == [label for _, label in converter.input_dataset]


def test_what_a_reader_holds_file_by_file(tmp_path: Path) -> None:
    MemmapConverter(Digits(), str(tmp_path / "out"), 10, 5, 0, shape=(9, 7), im_mode="L").convert()
    reader = MemmapReader(str(tmp_path / "out"))
    assert [len(rows) for rows in reader.im_list] == [len(rows) for rows in reader.labels_list] == [10, 10, 3]
    assert reader.len_last_array == 3
    np.testing.assert_array_equal(reader.im_list[2][1][..., 0], reader[21][0][0].numpy())
    assert np.asarray(reader.labels_list[1]).tolist() == [k % 10 for k in range(10, 20)]
    assert reader.labels_list[0][2:4].tolist() == [2, 3]


class Guide:
    """Stores in the layout of the guide's own code."""

    def __init__(self, root: Path, rows: int = 25, per_file: int = 10) -> None:
        self.root, self.rows = root, rows
        for name in ("images", "labels", "metadata"):
            (root / name).mkdir(parents=True)
        self.pictures = [picture(k, 12, 9) for k in range(rows)]
        self.labels = np.arange(rows) * 7 % 10
        self.files = [encoded(image) for image in self.pictures]
        self.groups = [range(at, min(at + per_file, rows)) for at in range(0, rows, per_file)]
        self.metadata = {"num_images_per_array": per_file, "len": rows, "len_last_array": 5, "total_num_arrays": 2}

    def done(self, **fixed: Any) -> Path:
        (self.root / "metadata" / "metadata.json").write_text(json.dumps(self.metadata | fixed))
        (self.root / "metadata" / "class_to_integer_mapping.json").write_text(json.dumps({"a": 0, "b": 1}))
        return self.root

    def path(self, name: str, k: int, suffix: str) -> Path:
        return self.root / name / f"{name}_{k}.{suffix}"

    def pixels(self, group: range) -> np.ndarray:
        return np.stack([np.asarray(self.pictures[k]) for k in group])

    def memmap(self, dense: bool = False) -> Path:
        for k, group in enumerate(self.groups):
            self.pixels(group).tofile(self.path("images", k, "npy"))
            labels = self.pixels(group) // 2 if dense else self.labels[list(group)]
            labels.tofile(self.path("labels", k, "npy"))
        return self.done(mode="RGB", shape=[12, 9])

    def hdf5(self) -> Path:
        for k, group in enumerate(self.groups):
            with h5py.File(self.path("images", k, "h5"), "w") as file:
                file["images"] = self.pixels(group)
            with h5py.File(self.path("labels", k, "h5"), "w") as file:
                file["labels"] = self.labels[list(group)]
        return self.done(mode="RGB", shape=[12, 9])

    def parquet_v1(self) -> Path:
        for k, group in enumerate(self.groups):
            pq.write_table(pa.table({"images": [self.files[i] for i in group]}), self.path("images", k, "parquet"))
            pq.write_table(pa.table({"labels": self.labels[list(group)]}), self.path("labels", k, "parquet"))
        return self.done()

    def parquet_v2(self) -> Path:
        for k, group in enumerate(self.groups):
            images = {str(place): [self.files[i]] for place, i in enumerate(group)}
            labels = {str(place): [int(self.labels[i])] for place, i in enumerate(group)}
            pq.write_table(pa.table(images), self.path("images", k, "parquet"))
            pq.write_table(pa.table(labels), self.path("labels", k, "parquet"))
        return self.done()

    def ipc(self, dense: bool = False) -> Path:
        for k, group in enumerate(self.groups):
            values: dict[str, list[Any]] = {
                "images": [self.files[i] for i in group],
                "labels": [self.files[i] if dense else int(self.labels[i]) for i in group],
            }
            for name, rows in values.items():
                batches = [pa.record_batch({"x": [row]}) for row in rows]
                with pa.ipc.new_file(str(self.path(name, k, "parquet")), batches[0].schema) as writer:
                    for batch in batches:
                        writer.write(batch)
        return self.done()

    def tar(self) -> Path:
        for k, group in enumerate(self.groups):
            with tarfile.open(self.path("images", k, "tar"), "w") as file:
                for place, i in enumerate(group):
                    info = tarfile.TarInfo(f"image_{place}")
                    info.size = len(self.files[i])
                    file.addfile(info, io.BytesIO(self.files[i]))
            self.path("labels", k, "json").write_text(json.dumps(self.labels[list(group)].tolist()))
        return self.done()


@pytest.mark.parametrize(
    ("kind", "reader"),
    [
        ("memmap", MemmapReader),
        ("hdf5", HDF5Reader),
        ("parquet_v1", ParquetReader),
        ("parquet_v2", ParquetReader),
        ("ipc", IpcReader),
        ("tar", TarReader),
    ],
)
def test_the_guide_s_stores(tmp_path: Path, kind: str, reader: Any) -> None:
    made = Guide(tmp_path / "guide")
    store = reader(getattr(made, kind)(), transform=np.asarray)
    assert len(store) == 25
    assert store.class_to_idx == {"a": 0, "b": 1}
    for k in np.random.default_rng(0).permutation(25).tolist():
        image, label = store[k]
        assert label == made.labels[k]
        if kind in {"memmap", "hdf5"}:
            np.testing.assert_array_equal(image, np.asarray(made.pictures[k]))
        else:
            assert bytes(store.raw(k)) == made.files[k]
    batches = list(open_store(tmp_path / "guide").loader(4, shuffle=True))
    assert sum(len(labels) for _, labels in batches) == 25
    with pytest.raises(StoreError, match="no checksums"):
        store.verify()


def test_the_guide_s_dense_stores(tmp_path: Path) -> None:
    made = Guide(tmp_path / "m")
    reader = DenseMemmapReader(made.memmap(dense=True))
    np.testing.assert_array_equal(reader[13][1].numpy(), np.asarray(made.pictures[13]) // 2)
    made = Guide(tmp_path / "i")
    image, label = DenseIpcReader(made.ipc(dense=True))[13]
    assert torch.equal(image, label.permute(2, 0, 1))


def test_a_guide_store_with_a_file_missing(tmp_path: Path) -> None:
    path = Guide(tmp_path / "m").memmap()
    (path / "images" / "images_1.npy").unlink()
    with pytest.raises(StoreError, match="2 image and 3 label files"):
        open_store(path)


def test_what_the_page_says_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(next(iter(imgassets.__path__))) / "docs" / "compat.md").read_text()
    monkeypatch.chdir(tmp_path)
    for name in ("class10", "class2"):
        for k in range(2):
            path = tmp_path / "data" / name / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(picture(k, 9, 8), "PNG"))
    exec(page.partition("```python\n")[2].partition("```")[0], {})  # noqa: S102  (the page's own example)
    assert open_store("out").class_to_idx == {"class10": 0, "class2": 1}
    assert open_store(convert("data", "natural")).class_to_idx == {"class2": 0, "class10": 1}
    MemmapConverter("data", "text", 10, 5, 0, shape=(9, 8), im_mode="RGB").convert()
    assert MemmapReader("text").class_to_idx == {"class10": 0, "class2": 1}
    image, label = MemmapReader("text", transform=lambda image: image, target_transform=np.int64)[0]
    assert isinstance(image, Image.Image)
    assert isinstance(label, np.int64)
    DenseIpcConverter(Segments(), "dense", 4, 2, 0).convert()
    label = DenseIpcReader("dense", None, lambda label: label)[1][1]
    assert isinstance(label, Image.Image)
    assert np.array_equal(np.asarray(label), np.asarray(Segments()[1][1]))


def test_inspect_describes_a_store_of_the_guide(tmp_path: Path) -> None:
    (report,) = reports(Guide(tmp_path / "guide").memmap(), 64)
    assert (report["format"], report["rows"], report["classes"]) == ("guide", 25, 2)
    assert "25" in describe(report)

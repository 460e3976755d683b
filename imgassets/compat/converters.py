"""The names of the conversion-library guide, on top of `convert` and `open_store`.

Converters take the guide's arguments; readers open its stores and ours. Differences: `batch_size` need not divide
`images_per_file`; `shape` is (height, width); any number of ranks works with `dist=True`, one included; files are kept
byte for byte where the guide encoded them again as JPEG; stores are checksummed and written whole or not at all.

Class folders are numbered as the guide did it with torchvision's `ImageFolder`: in the order of their text, class10
before class2. `convert` and datasets count class2 before class10 unless told `class_order="text"`.
"""

from __future__ import annotations

import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from imgassets.errors import BadInput
from imgassets.images.pixels import MODES, encode, to_array
from imgassets.ranks import environment_rank
from imgassets.sources.folder import class_folder
from imgassets.stores import Transform
from imgassets.stores.codecs import guide
from imgassets.stores.convert import convert

WAIT = 24 * 3600.0
"""Seconds a process waits for the others' shards."""


class ResizeAndConvert:
    """A transform: a Pillow image in `mode`, at `shape` (height, width); `size` is another name of it."""

    def __init__(self, shape: tuple[int, int] | None = None, mode: str | None = None, *, size: Any = None) -> None:
        self.shape = tuple(shape if shape is not None else size)
        self.mode = mode

    def __call__(self, image: Any) -> Any:
        """Convert, then resize with Pillow's default filter."""
        image = image if self.mode is None else image.convert(self.mode)
        return image.resize((self.shape[1], self.shape[0]))


class CustomDistributedSampler:
    """Indices of this rank's whole files, in order: a torch sampler. Every index belongs to exactly one rank."""

    def __init__(
        self, dataset: Any, images_per_array: int, num_replicas: int | None = None, rank: int | None = None
    ) -> None:
        here, world = environment_rank()
        self.dataset = dataset
        self.num_replicas = world if num_replicas is None else num_replicas
        self.rank = here if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"rank {self.rank} is not within [0, {self.num_replicas - 1}]")
        self.images_per_array = images_per_array
        self.epoch = 0
        files = -(-len(dataset) // images_per_array)
        self.files = range(files * self.rank // self.num_replicas, files * (self.rank + 1) // self.num_replicas)
        self.start_index = min(self.files.start * images_per_array, len(dataset))
        self.end_index = min(self.files.stop * images_per_array, len(dataset))
        self.num_samples = self.end_index - self.start_index

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start_index, self.end_index))

    def __len__(self) -> int:
        return self.num_samples

    @property
    def array_per_task(self) -> int:
        """Files of every rank but the last, by which the guide's own code finds a rank's first file.

        Raises:
            BadInput: ranks have different numbers of files.
        """
        files = -(-len(self.dataset) // self.images_per_array)
        if files % self.num_replicas > 1:
            raise BadInput(f"{files} files cannot be dealt out as array_per_task says to {self.num_replicas} ranks.")
        return files // self.num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Remembered; the order is the files' own."""
        self.epoch = epoch


class _Folder:
    """A class folder as a map-style dataset of (Pillow image, label)."""

    def __init__(self, root: str, transform: Transform | None) -> None:
        self._source = class_folder(Path(root), order="text")
        self.class_to_idx = dict(self._source.class_to_idx)
        self.transform = transform

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        item = self._source.items[index]
        with Image.open(item.path) as image:
            image.load()
            return (image if self.transform is None else self.transform(image)), item.label


class Converter(ABC):
    """What all converters share. A new format is a subclass of `ConverterFixedSize` or `ConverterFlexibleSize`."""

    format: ClassVar[str] = ""
    """One of ours; empty for a format that a subclass writes itself."""

    def __init__(
        self,
        input_data: Any,
        output_path: str | os.PathLike[str],
        images_per_file: int,
        batch_size: int = 1,
        num_workers: int = 0,
        shape: tuple[int, int] | None = None,
        im_mode: str | None = None,
        root_in_archive: str | None = None,
        *,
        dist: bool = False,
        rank: int | None = None,
        num_replicas: int | None = None,
    ) -> None:
        self.input_data = input_data
        self.output_path = os.fspath(output_path)
        self.images_per_file, self.batch_size, self.num_workers = images_per_file, batch_size, num_workers
        self.shape, self.im_mode = shape, im_mode
        self.input_dataset: Any = input_data
        if isinstance(input_data, str | os.PathLike):
            transform = ResizeAndConvert(shape, im_mode or "RGB") if shape is not None else None
            self.input_dataset = _Folder(os.fspath(input_data), transform)
        self.length = len(self.input_dataset)
        self.num_arrays, self.len_last_array = divmod(self.length, images_per_file)
        self.class_to_idx: Mapping[str, int] | None = getattr(self.input_dataset, "class_to_idx", None)
        if categories := getattr(self.input_dataset, "categories", None):
            self.class_to_idx = {category: k for k, category in enumerate(categories)}
        self.dist = dist
        self.sampler: Any = None
        self.rank: int | None = None
        self.num_replicas: int | None = None
        if dist:
            here, world = environment_rank()
            self.rank = here if rank is None else rank
            self.num_replicas = world if num_replicas is None else num_replicas
            self.sampler = CustomDistributedSampler(
                self.input_dataset, images_per_file, num_replicas=self.num_replicas, rank=self.rank
            )

    def convert(self) -> None:
        """Write the store. With `dist=True` this process's part; it returns when the whole is there."""
        if not self.format:
            self._convert_own()
            if not self.dist or self.rank == 0:
                self._save_metadata()
            return
        given = self.input_data
        settings: dict[str, Any] = {"size": self.shape, "mode": self.im_mode or "RGB"} if self.fixed else {}
        done = convert(
            given,
            self.output_path,
            format=self.format,
            class_order="text",
            images_per_file=self.images_per_file,
            threads=max(1, self.num_workers),
            rank=self.rank if self.dist else 0,
            world_size=self.num_replicas if self.dist else 1,
            wait=WAIT if self.dist else 0,
            **settings,
        )
        if done is None:
            raise BadInput(f"{self.output_path}: other ranks did not finish within {WAIT / 3600:.0f} hours.")

    fixed: ClassVar[bool]

    def _convert_own(self) -> None:
        self._convert_to_format()

    @abstractmethod
    def _convert_to_format(self) -> None:
        """Write the dataset in a format of the subclass's own."""

    def _save_metadata(self) -> None:
        """Say in `metadata/` what a reader has to know of files of a subclass's own."""
        folder = Path(self.output_path) / "metadata"
        folder.mkdir(parents=True, exist_ok=True)
        about = guide.metadata(self.length, self.images_per_file, self.im_mode, self.shape)
        (folder / "metadata.json").write_text(json.dumps(about))
        if self.class_to_idx:
            (folder / "class_to_integer_mapping.json").write_text(json.dumps(self.class_to_idx))

    def _loader(self) -> Any:
        from torch.utils.data import DataLoader

        return DataLoader(
            self.input_dataset,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            sampler=self.sampler,
            collate_fn=self._custom_collate_fn,
        )

    @staticmethod
    def _custom_collate_fn(batch: Any) -> Any:
        """Items of a batch as (images, labels)."""
        return [image for image, _ in batch], [label for _, label in batch]


class ConverterFixedSize(Converter):
    """Images of one size and mode. A format of your own fills `im_list` and `labels_list` in `_init_arrays`."""

    fixed = True
    im_list: list[Any]
    labels_list: list[Any]

    def _init_arrays(self) -> None:
        """Set `im_list` and `labels_list`: an array, or what takes slices like one, for each file of this rank."""
        raise NotImplementedError(f"{type(self).__name__} needs _init_arrays, or a format")

    def _convert_own(self) -> None:
        self._init_arrays()
        self._convert_to_format()

    def _convert_to_format(self) -> None:
        row = 0
        for images, labels in self._loader():
            taken = 0
            while taken < len(images):
                k, at = divmod(row, self.images_per_file)
                count = min(self.images_per_file - at, len(images) - taken)
                self.im_list[k][at : at + count] = images[taken : taken + count]
                self.labels_list[k][at : at + count] = labels[taken : taken + count]
                row, taken = row + count, taken + count


class ConverterFlexibleSize(Converter):
    """Images of any size. A format of your own writes a file's worth in `_write_data_to_disk`."""

    fixed = False

    def _write_data_to_disk(self, images: list[Any], labels: list[Any], file_number: int) -> None:
        """Write one file's images and labels, as `_custom_collate_fn` gave them."""
        raise NotImplementedError(f"{type(self).__name__} needs _write_data_to_disk, or a format")

    def _convert_to_format(self) -> None:
        for name in ("images", "labels"):
            Path(self.output_path, name).mkdir(parents=True, exist_ok=True)
        number = self.sampler.files.start if self.sampler else 0
        images: list[Any] = []
        labels: list[Any] = []
        for some_images, some_labels in self._loader():
            images += some_images
            labels += some_labels
            while len(images) >= self.images_per_file:
                n = self.images_per_file
                self._write_data_to_disk(images[:n], labels[:n], number)
                images, labels, number = images[n:], labels[n:], number + 1
        if images:
            self._write_data_to_disk(images, labels, number)


class MemmapConverter(ConverterFixedSize):
    """Memory-mapped arrays."""

    format = "memmap"


class HDF5Converter(ConverterFixedSize):
    """HDF5."""

    format = "hdf5"


class ParquetConverter(ConverterFlexibleSize):
    """Parquet."""

    format = "parquet"


class IpcConverter(ConverterFlexibleSize):
    """Arrow IPC."""

    format = "ipc"


class TarConverter(ConverterFlexibleSize):
    """Tar."""

    format = "tar"


class DenseMemmapConverter(MemmapConverter):
    """Memory-mapped arrays of images and of labels for every pixel."""


class DenseIpcConverter(IpcConverter):
    """Arrow IPC of images and label images."""


Hdf5Converter = HDF5Converter


def distributedConverter(cls: type) -> type:  # noqa: N802  (the guide's name)
    """A decorator of the guide: every converter takes `dist`, `rank` and `num_replicas` without it."""
    return cls


def get_number_of_channels(mode: str) -> int | None:
    """Channels of one of Pillow's modes; None for an unknown one."""
    return MODES[mode][1] if mode in MODES else None


def image_to_binary(img: Any) -> bytes:
    """A Pillow image as a file: of its own format if it has one, else lossless."""
    if not img.format:
        return encode(to_array(img), img.mode)
    buffer = io.BytesIO()
    img.save(buffer, img.format)
    return buffer.getvalue()

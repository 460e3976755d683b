"""Any map-style torch dataset as a source: items are (image, label)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Column, Field, array_field
from imgassets.errors import BadInput
from imgassets.images.header import BadImage
from imgassets.images.judge import MANY, inspect
from imgassets.images.pixels import MODES, encode, nearest, resize, to_array
from imgassets.sources.base import BadSamples, Samples, Source
from imgassets.sources.files import ImageFiles, Item
from imgassets.sources.resized import Resized

TRIED = 8
"""Items that are asked for twice, to see whether chance decides them."""


def from_dataset(dataset: Any, *, size: tuple[int, int] | None = None, mode: str = "") -> Source:
    """A source of a dataset's items.

    A folder dataset as torchvision has it (`samples` of (path, label), no transform) is read from its files, so that
    the original bytes are kept. Other items are Pillow images, which become lossless files, or with a `size` (height,
    width) pixels of `mode`; arrays or tensors of one shape, which stay arrays (tensors are (channels, height, width));
    or `bytes` of image files. With a `size` files are decoded and resized, too.

    Raises:
        BadInput: it has no length or no items, its items are something else, or arrays of another size.
    """
    source = _kept(dataset, size, mode)
    if size is None:
        return source
    if source.fields[0].kind == "file":
        return Resized(source, size, mode or "RGB")
    shape = source.fields[0].shape
    found = shape[1:3] if source.fields[0].layout == "CHW" else shape[:2]
    if found != tuple(size):
        raise BadInput(
            f"The dataset gives arrays of {list(found)} (height, width), not of {list(size)}: only pictures and files "
            "are resized; resize them in the dataset, or leave out size."
        )
    return source


def refuse_chance(source: Source) -> None:
    """Ask for the first items twice.

    Raises:
        BadInput: they are others the second time; names the first such item.
    """
    for index in range(min(TRIED, len(source))):
        try:
            first, second = (source.read([index]).columns for _ in range(2))
        except BadSamples:  # told with the others that cannot be used
            continue
        for field in source.fields:
            if not _same(first[field.name], second[field.name]):
                raise BadInput(
                    f"{source.name(index)} has another {field.name} whenever it is asked for: leave random transforms "
                    "to the loader, which draws anew in each epoch; a store has one version of every sample."
                )


def _same(first: Column, second: Column) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
    return list(first) == list(second)


def _kept(dataset: Any, size: tuple[int, int] | None, mode: str) -> Source:
    samples = getattr(dataset, "samples", None)
    transforms = [getattr(dataset, name, None) for name in ("transform", "target_transform", "transforms")]
    if samples and all(t is None for t in transforms) and isinstance(samples[0][0], str | Path):
        items = [Item(Path(path).name, Path(path), int(label)) for path, label in samples]
        return ImageFiles(items, getattr(dataset, "class_to_idx", None), mode=mode or "RGB", about={"kind": "dataset"})
    return DatasetItems(dataset, size, mode)


class DatasetItems(Source):
    """Items of a dataset, asked for one by one and by one thread at a time; the first one tells what all are."""

    def __init__(self, dataset: Any, size: tuple[int, int] | None = None, mode: str = "") -> None:
        try:
            self._length = len(dataset)
            image, label = dataset[0]
        except Exception as error:
            raise BadInput(
                f"A dataset needs a length and items (image, label): {type(error).__name__}: {error}."
            ) from error
        self._dataset: Any = _OneByOne(dataset)
        if size is not None and hasattr(image, "getbands"):
            dataset_mode = mode or "RGB"
            self._dataset = _Sized(self._dataset, size, dataset_mode)
            image, label = self._dataset[0]
            mode = dataset_mode
        self.class_to_idx = dict(getattr(dataset, "class_to_idx", None) or {})
        self.fields = (_image_field(image, mode), _label_field(label))

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Sequence[int]) -> Samples:
        """Columns of some samples; see `Source.read`."""
        columns: dict[str, list[Any]] = {"image": [], "label": []}
        bad: dict[int, str] = {}
        damaged: dict[int, str] = {}
        for index in indices:
            try:
                image, label = self._dataset[index]
                if isinstance(image, bytes) and (complaint := inspect(image, len(self) >= MANY).warning):
                    damaged[index] = complaint
                columns["image"].append(_value(self.fields[0], image))
                columns["label"].append(_value(self.fields[1], label))
            except BadImage as error:
                bad[index] = str(error)
            except Exception as error:
                bad[index] = f"{type(error).__name__}: {error}"
        if bad:
            raise BadSamples(bad)
        return Samples({f.name: _column(f, columns[f.name]) for f in self.fields}, damaged=damaged)

    @property
    def about(self) -> Mapping[str, Any]:
        """The kind of source."""
        return {"kind": "dataset"}


class _OneByOne:
    """A dataset that one thread at a time asks for an item: torch's own loaders use processes, so that a dataset may
    well have a file open whose position all items share.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset, self._lock = dataset, Lock()

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        with self._lock:
            image, label = self._dataset[index]
        return image, label


class _Sized:
    """A dataset of Pillow images as one of arrays (height, width, channels) of one size; label images keep up."""

    def __init__(self, dataset: Any, size: tuple[int, int], mode: str) -> None:
        if mode not in MODES or min(size) < 1:
            raise BadInput(f"There are no images of mode {mode!r} and size {list(size)}.")
        self._dataset, self._size, self._mode = dataset, size, mode

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self._dataset[index]
        if hasattr(label, "getbands"):
            label = nearest(np.asarray(label), self._size)
        pixels = to_array(image if image.mode == self._mode else image.convert(self._mode))
        return resize(pixels, self._size, self._mode), label


def _array(value: Any) -> NDArray[Any]:
    return to_array(value) if hasattr(value, "getbands") else np.asarray(value)


def _image_field(image: Any, mode: str) -> Field:
    if isinstance(image, bytes) or hasattr(image, "getbands"):
        return Field("image", "file", mode=mode or getattr(image, "mode", "RGB"))
    array = np.asarray(image)
    if array.ndim not in {2, 3}:
        raise BadInput(
            f"An image is a Pillow image, bytes, or an array of 2 or 3 axes; this is {type(image).__name__}."
        )
    channels_first = array.ndim == 3 and (not isinstance(image, np.ndarray) or array.shape[2] > 4)
    layout = "HW" if array.ndim == 2 else "CHW" if channels_first else "HWC"
    channels = 1 if array.ndim == 2 else array.shape[0 if channels_first else 2]
    plain = {("|u1", 1): "L", ("|u1", 3): "RGB", ("|u1", 4): "RGBA", ("<u2", 1): "I;16", ("<i4", 1): "I"}
    guess = plain.get((array.dtype.str, channels), "F" if array.dtype == np.float32 and channels == 1 else "")
    return array_field("image", array.dtype, array.shape, layout, mode or guess)


def _label_field(label: Any) -> Field:
    if hasattr(label, "getbands"):
        return Field("label", "file")
    array = np.asarray(label)
    dtype = np.int64 if array.ndim == 0 and array.dtype.kind in "iub" else array.dtype
    return array_field("label", dtype, array.shape, "HWC"[: array.ndim] if array.ndim in {2, 3} else "")


def _value(field: Field, value: Any) -> Any:
    if field.kind == "file":
        if isinstance(value, bytes):
            return value
        if not hasattr(value, "getbands"):
            raise BadInput(f"{field.name} is {type(value).__name__}, the first one was a Pillow image")
        if value.mode in {"P", "CMYK", "YCbCr", "LAB", "HSV", "F", "I"} and field.name == "image":
            value = value if value.mode not in MODES or value.mode == "I" else value.convert("RGB")
        return encode(to_array(value), value.mode)
    array = _array(value)
    if array.shape != field.shape:
        raise BadInput(f"{field.name} has shape {array.shape}, the first one {field.shape}")
    return array


def _column(field: Field, values: list[Any]) -> Column:
    return values if field.ragged else np.stack(values)

"""Encoded images that lie in files, whole or as ranges of larger ones: folders and indexed archives alike."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Field, array_field
from imgassets.images.header import BadImage, ImageHeader
from imgassets.images.judge import MANY, inspect, read_header
from imgassets.images.pixels import examine, inspect_label
from imgassets.images.sniff import HEAD, image_kind
from imgassets.sources.base import BadSamples, Samples, Source

MAX_FILE = 1 << 30
"""Bytes; a larger file is no image of a data set."""

KINDS = {"tiff": "tif", "dib": "bmp", "pnm": "ppm", "apng": "png", "heif": "heic", "hif": "heic"}
KINDS |= dict.fromkeys(("jpeg", "jpe", "jfif", "jif", "jfi", "pjpeg", "pjp"), "jpg")
KINDS |= dict.fromkeys(("j2k", "j2c", "jpx", "jpf"), "jp2")
NEWER_KINDS = frozenset({"avif", "heic", "jp2", "jxl"})
KNOWN = frozenset({"jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "pgm", "pbm"})
"""Kinds that a file's name can say."""


@dataclass(frozen=True)
class Item:
    """One encoded image: `size` bytes of `path` from `offset` on, and its label."""

    name: str
    path: Path
    label: int
    offset: int = 0
    size: int = -1
    """-1: to the end of the file."""
    label_path: Path | None = None
    """File of a label for every pixel, instead of `label`."""
    problem: str = ""
    """Why it is known beforehand that it cannot be used."""


class ImageFiles(Source):
    """Images kept byte for byte, each judged before it is accepted.

    Notes count what the headers say (`cmyk`, `exif_rotated`, …) and names that belie the content (`mislabelled`).

    Fields: `image` (the file), `label` (int64, or the label file), `name`.
    """

    def __init__(
        self,
        items: Sequence[Item],
        class_to_idx: Mapping[str, int] | None = None,
        *,
        mode: str = "RGB",
        about: Mapping[str, Any] | None = None,
        walked: Mapping[str, Any] | None = None,
    ) -> None:
        self.items = items
        self._walked = dict(walked or {})
        self._about = dict(about or {})
        self.class_to_idx = dict(class_to_idx or {})
        self.dense = bool(items) and items[0].label_path is not None
        self.fields = (
            Field("image", "file", mode=mode),
            Field("label", "file") if self.dense else array_field("label", np.int64),
            Field("name", "text"),
        )

    def __len__(self) -> int:
        return len(self.items)

    def read(self, indices: Sequence[int]) -> Samples:
        """Columns of some samples; see `Source.read`."""
        return self._read(indices, partial(self._judge, walk=len(self.items) >= MANY))

    def unjudged(self, indices: Sequence[int]) -> Samples:
        """The same, of which only the headers are looked at."""
        return self._read(indices, read_header)

    def _judge(self, data: bytes, walk: bool) -> ImageHeader:
        header = inspect(data, walk)
        if header.is_wide:  # whether its values can be shown is not known before it is tried
            examine(data, self.fields[0].mode)
        return header

    def _read(self, indices: Sequence[int], judge: Callable[[bytes], ImageHeader]) -> Samples:
        images: list[bytes] = []
        labels: list[bytes] = []
        bad: dict[int, str] = {}
        damaged: dict[int, str] = {}
        notes: Counter[str] = Counter()
        for index in indices:
            item = self.items[index]
            try:
                images.append(read_item(item))
                header = judge(images[-1])
                notes.update(header.notes)
                notes["mislabelled"] += _belied(item.name, header.kind, images[-1])
                if header.warning is not None:
                    damaged[index] = header.warning
                if item.label_path is not None:
                    labels.append(_read_label(item.label_path, header))
            except BadImage as error:
                bad[index] = str(error)
        if bad:
            raise BadSamples(bad)
        items = [self.items[index] for index in indices]
        columns = {
            "image": images,
            "label": labels if self.dense else np.array([item.label for item in items], np.int64),
            "name": [item.name.encode() for item in items],
        }
        return Samples(columns, +notes, damaged)

    def name(self, index: int) -> str:
        """The file's path below the root, or its name in an archive."""
        return self.items[index].name

    def nbytes(self, index: int) -> int:
        """Size of the file, which must exist."""
        item = self.items[index]
        try:
            return item.size if item.size >= 0 else item.path.stat().st_size - item.offset
        except OSError:
            return 0

    def sizes(self) -> Mapping[str, NDArray[np.int64]]:
        """Of the files and of their names."""
        found = {"image": _sizes(self.items), "name": _name_sizes(self.items)}
        if self.dense:
            labels = [item.label_path for item in self.items]
            found["label"] = np.array([0 if path is None else _size(path) for path in labels], np.int64)
        return found

    @property
    def about(self) -> Mapping[str, Any]:
        """As it was given."""
        return self._about

    @property
    def walked(self) -> Mapping[str, Any]:
        """As it was given."""
        return self._walked


def _sizes(items: Sequence[Item]) -> NDArray[np.int64]:
    known = getattr(items, "sizes", None)
    if known is not None:
        return np.asarray(known, np.int64)
    return np.array([item.size if item.size >= 0 else _size(item.path) for item in items], np.int64)


def _name_sizes(items: Sequence[Item]) -> NDArray[np.int64]:
    known = getattr(items, "name_sizes", None)
    return np.array([len(item.name.encode()) for item in items], np.int64) if known is None else known


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # told when it is read
        return 0


def read_item(item: Item) -> bytes:
    """The bytes of an image.

    Raises:
        BadImage: they cannot be read, or it is known that they cannot be used.
    """
    if item.problem:
        raise BadImage(item.problem)
    return _read(item.path, item.offset, item.size)


def _read_label(path: Path, image: ImageHeader) -> bytes:
    """A label file as it is, of the size of its image; of the upright image, where EXIF turns it on its side."""
    sizes = [(image.height, image.width), (image.width, image.height)]
    try:
        data = _read(path, 0, -1)
        found = inspect_label(data)
    except BadImage as error:
        raise BadImage(f"its label {path.name} cannot be used: {error}") from None
    if found not in sizes[: 2 if image.orientation > 4 else 1]:
        raise BadImage(f"its label is {found}, the image {sizes[0]} (height, width)")
    return data


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        # a FIFO would wait for a writer for ever
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BadImage(f"cannot be opened: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadImage("is no ordinary file")
        length = size if size >= 0 else os.fstat(fd).st_size - offset
        if length > MAX_FILE:
            raise BadImage(f"has {length} bytes, more than the {MAX_FILE} allowed")
        data = os.pread(fd, length, offset)
        if len(data) != length:
            raise BadImage(f"gives only {len(data)} of its {length} bytes")
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    return data


def suffix_of(name: str) -> str:
    """What follows the last dot of a file name, in lower case."""
    return name.rpartition(".")[2].lower()


def _belied(name: str, kind: str, data: bytes) -> bool:
    """Whether a name has an image's extension and the content is another kind."""
    suffix = suffix_of(name)
    named = KINDS.get(suffix, suffix)
    if named in NEWER_KINDS:
        return image_kind(data[:HEAD]) != named
    return named != kind and named in KNOWN

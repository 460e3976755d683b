"""A folder of ImageNet TFRecord shards as one sequence of images, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats.record_index import known
from imgassets.formats.tf_example import ImageExample, image_example, parse, peek
from imgassets.formats.tfrecord import TFRecordFile

SHARD = re.compile(r"(?P<split>[a-z]+)-(?P<shard>\d{5})-of-(?P<shards>\d{5})")
_LABEL_KEYS = ("image/class/label", "image/class/synset")


def splits_of(folder: Path) -> dict[str, list[Path]]:
    """The shards in a folder by split, in order; empty where there are none.

    Raises:
        StoreError: a split has shards of different numbers, or some are missing.
    """
    found: dict[str, dict[int, Path]] = {}
    counts: dict[str, int] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := SHARD.fullmatch(path.name):
            split, shard, count = match["split"], int(match["shard"]), int(match["shards"])
            if counts.setdefault(split, count) != count:
                raise StoreError(f"{folder} holds {split} shards of {counts[split]} and of {count}: remove one set.")
            found.setdefault(split, {})[shard] = path
    for split, shards in found.items():
        missing = [shard for shard in range(counts[split]) if shard not in shards]
        if missing:
            raise StoreError(
                f"{folder} lacks {len(missing)} of {counts[split]} {split} shards, the first of them "
                f"{split}-{missing[0]:05d}-of-{counts[split]:05d}: make or copy them."
            )
    return {split: [shards[shard] for shard in range(counts[split])] for split, shards in found.items()}


def open_split(folder: Path, split: str | None = None) -> ImageNetRecords:
    """The images of one split; `split` may be left out where there is only one.

    Raises:
        MissingUpstream: the folder holds no shards of it.
        BadInput: there are several splits, and none was named.
        StoreError: shards are missing or damaged.
    """
    found = splits_of(folder)
    if not found or (split is not None and split not in found):
        wanted = f"{split}-00000-of-…" if split else "train-00000-of-…"
        raise MissingUpstream(f"{folder} holds no TFRecord shards {wanted}: materialize ilsvrc2012/tfrecords first.")
    if split is None and len(found) > 1:
        raise BadInput(f"{folder} holds {' and '.join(sorted(found))}: say which, e.g. split={min(found)!r}.")
    return ImageNetRecords(found[split or next(iter(found))])


class ImageNetRecords(Sequence[ImageExample]):
    """Images of some shards, in their order; every record is checked against its CRC when it is read.

    The place of every record is known when the object is made, from the shard's manifest, else by reading the lengths;
    images are read one by one. May be pickled, and used by threads and by processes that fork.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.indexes = [known(path) for path in paths]
        self.files = [
            TFRecordFile(path, index.offsets if index else None)
            for path, index in zip(paths, self.indexes, strict=True)
        ]
        self._ends = np.cumsum([len(file) for file in self.files], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, i: int) -> ImageExample: ...
    @overload
    def __getitem__(self, i: slice) -> list[ImageExample]: ...
    def __getitem__(self, i: int | slice) -> ImageExample | list[ImageExample]:
        """Image `i`, negative from the end.

        Raises:
            StoreError: its record is damaged, or no image of ImageNet.
        """
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        file, record = self.place(i)
        return image_example(parse(file[record]))

    def __iter__(self) -> Iterator[ImageExample]:
        for file in self.files:
            for record in file:
                yield image_example(parse(record))

    def place(self, i: int) -> tuple[TFRecordFile, int]:
        """The file that holds image `i`, and the record's number in it."""
        n = len(self)
        if not -n <= i < n:
            raise IndexError(f"image {i} of {n}")
        shard = int(np.searchsorted(self._ends, i % n, side="right"))
        return self.files[shard], i % n - int(self._ends[shard] - len(self.files[shard]))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) `image/class/label`, 1-based as it is stored."""
        return self._classes[0]

    @cached_property
    def synsets(self) -> list[str]:
        """`image/class/synset` of every image."""
        return self._classes[1]

    @cached_property
    def _classes(self) -> tuple[NDArray[np.int64], list[str]]:
        labels, synsets = np.empty(len(self), dtype=np.int64), []
        for i in range(len(self)):
            file, record = self.place(i)
            # keys are sorted where we or a deterministic writer made the record: both come before the image
            found = peek(file.head(record), _LABEL_KEYS)
            if found is None:
                image = self[i]
                found = {"image/class/label": [image.label], "image/class/synset": [image.synset.encode()]}
            labels[i] = found["image/class/label"][0]
            synsets.append(bytes(found["image/class/synset"][0]).decode())  # type: ignore[arg-type]
        return labels, synsets

    def verify(self) -> int:
        """Read every length and record again and check it; returns their number."""
        return sum(TFRecordFile(file.path).verify() for file in self.files)

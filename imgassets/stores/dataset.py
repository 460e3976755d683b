"""Image stores of every format, as one torch map-style dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from imgassets.columns import Field
from imgassets.commit import xxh3_128
from imgassets.commit.names import ASIDE
from imgassets.errors import MissingUpstream, StoreError
from imgassets.images.pixels import decode, decode_label, to_image
from imgassets.places import Place, slice_of
from imgassets.stores.ahead import Read
from imgassets.stores.bytespace import Local, LocalFiles, Remote, RemoteFiles
from imgassets.stores.codec import Extents
from imgassets.stores.codecs import guide
from imgassets.stores.extents import Index, StoreFiles, numbered
from imgassets.stores.face import OpenStore
from imgassets.stores.items import Items, collate, dressed, target_image, typed, worker_memory
from imgassets.stores.reading import Closed, Reader
from imgassets.stores.registry import codec_of
from imgassets.stores.storefile import NAME, StoreInfo, damaged, notes, skipped

if TYPE_CHECKING:
    import torch

Transform = Callable[[Any], Any]
TOGETHER = 16
"""Files of this machine that are copied before the first is decoded."""


class Store(OpenStore):
    """An open image store; items are (image, label).

    Without a transform an image is a uint8 tensor (channels, height, width), or of the dtype it was stored in. It may
    be read by threads and by processes that fork, and is pickled as its path for those that are spawned.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.transform = transform
        self.target_transform = target_transform
        self._remote = "://" in self.path
        self.info = self._read_info()
        self._identity = xxhash.xxh3_128_hexdigest(self.info.dump())
        self._length = self.info.rows
        self._image = self.info.field("image")
        self._label = next((field for field in self.info.fields if field.name == "label"), None)
        self._reader: Reader | Closed  # checks every file's size, so a store that was cut short is never open
        self._reader = self._open()

    @property
    def fields(self) -> tuple[Field, ...]:
        """Name, kind, dtype and shape of what a row holds."""
        return self.info.fields

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Label by class name; empty where labels are no classes."""
        return dict(self.info.class_to_idx)

    @property
    def skipped(self) -> list[Mapping[str, Any]]:
        """Samples of the source that could not be used: `index`, `name`, `reason`."""
        return skipped(self.info.shards)

    @property
    def damaged(self) -> list[Mapping[str, Any]]:
        """Samples that decode only with a complaint: `index`, `name`, `reason`; of each shard 1000 at most."""
        return damaged(self.info.shards)

    @property
    def notes(self) -> dict[str, int]:
        """How many images had something to know of: `cmyk`, `exif_rotated`, `mislabelled`, …"""
        return notes(self.info.shards)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """All labels, (rows,); StoreError where there are none that are numbers."""
        if self._label is None or self._label.ragged:
            raise StoreError(f"{self.path} has no labels that are numbers: its fields are {_listed(self.fields)}.")
        values: NDArray[Any] = self._reader.values("label").view()  # the reader may still write to its own
        values.setflags(write=False)
        return values

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        """(image, label) of one row, (images, labels) of a slice or a list; negative indices count from the end."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(self._length))
        if isinstance(index, int) or not np.ndim(index):  # the first alone takes no time
            return tuple(self._items(*self.fetch(self._rows([index])))[0])
        rows = self._rows(index)
        return tuple(self.collated(rows, self._worker_memory(len(rows))))

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Any]:
        """Rows of a batch, as torch's DataLoader asks for them; fetched in one go."""
        return self._items(*self.fetch(self._rows(indices), self._worker_memory(len(indices))))

    def batch(self, indices: Sequence[int] | Index, out: torch.Tensor | None = None) -> Any:
        """(images, labels) of some rows.

        Images of one size are one tensor (n, channels, height, width), in memory as they are stored, otherwise a list.
        `out`, contiguous and of the stored dtype and at least n rows of the stored shape, takes them.
        """
        import torch

        rows = self._rows(indices)
        flat = None if out is None else out[: len(rows)].view(torch.uint8).view(len(rows), -1)
        return self.collated(rows, flat)

    def collated(self, rows: Index, flat: torch.Tensor | None = None) -> Any:
        """As `batch`, of rows known to be in range, into `flat`, uint8 (n, bytes of an image)."""
        return self._finished(*self.fetch(rows, flat))

    def filled(self, rows: Index, images: torch.Tensor, fill: Callable[[int, memoryview], None]) -> Any:
        """As `collated`, with images that `fill` makes of the files: image k of the bytes of `rows[k]`."""
        step = max(1, len(rows)) if self._remote else TOGETHER
        places = iter(range(len(rows)))
        for k in range(0, len(rows), step):
            self._decoded("image", rows[k : k + step], lambda piece: fill(next(places), piece))
        return self._finished(images, self._fetch_labels(rows))

    def fetch(self, rows: Index, flat: torch.Tensor | None = None) -> tuple[Any, Any]:
        """Images and labels, without transforms, of rows known to be in range."""
        import torch

        if self._image.ragged:
            mode = self._image.mode
            images: Any = self._decoded("image", rows, lambda piece: dressed(decode(piece, mode)))
        else:
            if flat is None:
                flat = torch.empty((len(rows), self._image.nbytes), dtype=torch.uint8)
            self._reader.gather("image", rows, flat)
            images = dressed(flat, self._image)
        return images, self._fetch_labels(rows)

    @property
    def image_bytes(self) -> int | None:
        """Bytes of an image, where all have one size and are handed over as they are stored."""
        return None if self._image.ragged or self.transform else self._image.nbytes

    def raw(self, index: int, field: str = "image") -> memoryview:
        """The stored bytes of one row of a field of variable size, uncopied: the image file itself.

        They are the file's as long as they are used: cut it, and reading them ends the process. `column` copies.
        """
        row = index + self._length if index < 0 else index
        if not 0 <= row < self._length:
            raise IndexError(f"index {index} is out of range for {self._length} rows")
        return self._reader.piece(field, row)

    def raw_batch(self, indices: Sequence[int] | Index, field: str = "image") -> Sequence[memoryview]:
        """As `raw`, of several rows."""
        return self._reader.pieces(field, self._rows(indices))

    def column(self, field: str, indices: Sequence[int] | Index) -> Any:
        """Rows of a field as they are stored: an array (n, *shape), or bytes for fields of variable size."""
        rows = self._rows(indices)
        found = self.info.field(field)
        if found.ragged:
            return [bytes(piece) for piece in self._reader.copies(field, rows)]
        import torch

        out = torch.empty((len(rows), found.nbytes), dtype=torch.uint8)
        self._reader.gather(field, rows, out)
        return out.numpy().view(found.dtype).reshape(len(rows), *found.shape)

    def name(self, index: int) -> str:
        """What the source calls a row: its path in a folder; its number where it has no name."""
        if any(field.name == "name" for field in self.fields):
            return str(self._decoded("name", self._rows([index]), lambda piece: bytes(piece).decode())[0])
        return f"row {range(self._length)[index]}"

    def place(self, index: int) -> Place:
        """Where the image of one row lies: its file in the store, and the bytes of it."""
        (row,) = self._rows([index]).tolist()
        found = self._reader.place("image", row)
        if found is None or self._remote:
            (image,) = self.column("image", [row])
            return Place(self.info.shards[0].files[0].name, read=lambda: bytes(image))
        file, offset, size = found
        return slice_of(self.folder / file, file, offset, size)

    @property
    def folder(self) -> Path:
        """In which the files of the shards lie, of a store of this machine."""
        return Path(self.path)

    def ahead(self, rows: Index) -> list[Read]:
        """Calls that each have some bytes of images read that will be fetched soon."""
        return self._reader.ahead("image", rows)

    def block_rows(self) -> int | None:
        """Rows that are decoded together, in formats that have such; block shuffling keeps them together."""
        return self._reader.block_rows()

    def close(self) -> None:
        """Give back memory and files; a store that nothing refers to any more does so itself.

        Batches stay what they are; what `raw` gave holds its file until it goes as well. Reading on is a StoreError.
        """
        self._reader = Closed(self.path)

    def verify(self) -> None:
        """Read every byte again and compare checksums.

        Raises:
            StoreError: a file is damaged; names it.
        """
        for shard in self.info.shards:
            for record in shard.files:
                if not record.xxh3_128:
                    raise StoreError(f"{self.path} has no checksums to verify: convert it again.")
                found = self._checksum(record.name)
                if found != record.xxh3_128:
                    raise StoreError(
                        f"{self.path}/{record.name} is damaged: its XXH3-128 is {found}, {NAME} says "
                        f"{record.xxh3_128}; rebuild the store."
                    )

    def _arguments(self) -> tuple[Any, ...]:
        """What it was opened with."""
        return self.path, self.transform, self.target_transform

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments(), "identity": self._identity}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["arguments"])  # type: ignore[misc]
        if self._identity != state["identity"]:
            raise StoreError(f"{self.path} was written again after it had been opened: open it anew.")

    def __repr__(self) -> str:
        return f"open_store({self.path!r}): {self._length} rows, {self.info.format}"

    def _read_info(self) -> StoreInfo:
        for name in (NAME, f"{ASIDE}/{NAME}"):
            with suppress(FileNotFoundError), self._files().open(name) as file:
                return StoreInfo.parse(file.read(), f"{self.path}/{name}")
        if not self._remote and (info := guide.find(Path(self.path))):
            return info
        raise MissingUpstream(f"{self.path} is no image store (it has no {NAME}): materialize it first.")

    def _files(self) -> StoreFiles:
        return RemoteFiles(self.path) if self._remote else LocalFiles(self.folder)

    def _open(self) -> Reader:
        records = [record for shard in self.info.shards for record in shard.files]
        sizes = [record.bytes for record in records]
        names = [record.name for record in records]
        if self._remote:
            files = RemoteFiles(self.path)
            return Reader(self.info, self._extents(), files, Remote(files, names, sizes), self.path)
        local = Local(self.folder, names, sizes)
        return Reader(self.info, self._extents(), local, local, self.path)

    def _extents(self) -> Extents:
        return guide.extents if self.info.format in guide.NAMES else codec_of(self.info.format).extents

    def _checksum(self, name: str) -> str:
        if not self._remote:
            return xxh3_128(self.folder / name)
        digest = xxhash.xxh3_128()
        with self._files().open(name) as file:
            while data := file.read(1 << 20):
                digest.update(data)
        return digest.hexdigest()

    def _rows(self, indices: Sequence[int] | Index) -> Index:
        return numbered(indices, self._length)

    def _fetch_labels(self, rows: Index) -> Any:
        import torch

        label = self._label
        if label is None:
            return None
        if label.scalar:
            return torch.from_numpy(self.labels[rows])
        if label.ragged:
            return self._decoded("label", rows, lambda piece: torch.from_numpy(decode_label(piece)))
        flat = torch.empty((len(rows), label.nbytes), dtype=torch.uint8)
        self._reader.gather("label", rows, flat)
        return typed(flat, label)

    def _decoded(self, field: str, rows: Index, decode: Callable[[memoryview], Any]) -> list[Any]:
        """Rows of a field of variable size as what they stand for."""
        found = []
        for row, piece in zip(rows.tolist(), self._reader.copies(field, rows), strict=True):
            try:
                found.append(decode(piece))
            except ValueError as error:  # that of images, too
                raise StoreError(
                    f"{self.path}, row {row}: the {field} {error}; verify the store, or rebuild it."
                ) from error
        return found

    def _finished(self, images: Any, labels: Any) -> Any:
        if self.transform is None and self.target_transform is None:
            return (images,) if labels is None else (images, labels)
        return collate(self._items(images, labels))

    def _items(self, images: Any, labels: Any) -> Sequence[Any]:
        if labels is not None and self._label is not None and self._label.scalar:
            labels = labels.tolist()
        if self.transform is None and self.target_transform is None:
            return Items(images, labels)
        items = []
        for k, image in enumerate(images):
            item: tuple[Any, ...] = (image if self.transform is None else self.transform(self._picture(image)),)
            if labels is not None:
                item += (
                    labels[k] if self.target_transform is None else self.target_transform(target_image(labels[k])),
                )
            items.append(item)
        return items

    def _picture(self, image: torch.Tensor) -> Any:
        mode = self._image.mode or ({1: "L", 3: "RGB", 4: "RGBA"}.get(image.shape[0], "") if image.ndim == 3 else "")
        if not mode:
            raise StoreError(f"{self.path} has images of {image.shape} {image.dtype}, which Pillow has no mode for.")
        return to_image(image.permute(1, 2, 0).numpy(), mode)

    def _worker_memory(self, rows: int) -> torch.Tensor | None:
        return None if self._image.ragged else worker_memory(rows, self._image.nbytes)


def _listed(fields: Sequence[Field]) -> str:
    return ", ".join(f"{field.name} ({field.kind})" for field in fields)

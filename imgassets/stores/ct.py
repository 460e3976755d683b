"""What `open_store` gives for a split of CT shards: a map-style dataset with the loader of the image stores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Field, array_field
from imgassets.errors import BadInput
from imgassets.formats.ct_split import MANIFEST, CtSplit, Scan
from imgassets.mapping import read_ahead
from imgassets.places import Place, slice_of
from imgassets.stores.face import OpenStore

if TYPE_CHECKING:
    import torch

    from imgassets.stores.loader import Loader


class CtStore(CtSplit, OpenStore):
    """Samples as (volume, report, labels): float16 (x, y, z) mapped from the shard, str, float32 (classes,).

    `transform` is given the volume, `target_transform` the labels; both arrays are read-only.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(Path(path))
        self.transform, self.target_transform = transform, target_transform

    @staticmethod
    def lies_at(path: str | os.PathLike[str]) -> bool:
        """Whether this is a folder of CT shards with their manifest."""
        return "://" not in str(path) and (Path(path) / MANIFEST).is_file()

    def __getitem__(self, index: Any) -> Any:
        """Sample `index`, or a list for a slice; as `batch` for a list."""
        if not isinstance(index, int | slice) and np.ndim(index):
            return self.batch(index)
        found = super().__getitem__(index)
        if isinstance(index, slice) or (self.transform is None and self.target_transform is None):
            return found
        volume, report, labels = found
        volume = self.transform(volume) if self.transform else volume
        return Scan(volume, report, self.target_transform(labels) if self.target_transform else labels)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """Labels of all samples, float32 (rows, classes)."""
        with self._space().watched():
            found = [self._member(*self.locate(row), "labels") for row in range(len(self))]
            self._ask(found)
            members = [member.tobytes() for member in found]
        values = [np.frombuffer(member, "<f4") for member in members]
        labels: NDArray[Any] = np.stack(values) if values else np.empty((0, len(self.class_names)), np.float32)
        labels.setflags(write=False)
        return labels

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Column of `labels` by class name."""
        return {name: column for column, name in enumerate(self.class_names)}

    @property
    def image_bytes(self) -> int | None:
        """Bytes of a volume as it is handed over; None where a transform makes something else of it."""
        return None if self.transform else int(np.prod(self.manifest["sample_shape"])) * 2

    def block_rows(self) -> int | None:
        """Samples of a shard: block shuffling keeps them together."""
        return int(self.manifest["samples_per_shard"])

    def collated(self, rows: Any, flat: torch.Tensor | None = None) -> Any:
        """Volumes (n, x, y, z) float16, reports, labels (n, classes) float32 of some rows, into `flat` where given."""
        with self._space().watched():  # also while a transform looks at them
            return self._collated(rows, flat)

    def _collated(self, rows: Any, flat: torch.Tensor | None) -> Any:
        import torch

        samples = [self[int(row)] for row in rows]
        reports = [report for _, report, _ in samples]
        labels = [labels for _, _, labels in samples]
        targets: Any = labels if self.target_transform else torch.from_numpy(np.stack(labels))
        if self.transform:
            return [volume for volume, _, _ in samples], reports, targets
        if flat is None:
            flat = torch.empty((len(samples), int(self.image_bytes or 0)), dtype=torch.uint8)
        volumes = flat.view(torch.float16).view(len(samples), *self.manifest["sample_shape"])
        for place, (volume, _, _) in zip(volumes.numpy(), samples, strict=True):
            np.copyto(place, volume)
        return volumes, reports, targets

    def loader(
        self,
        batch_size: int,
        *,
        crop: tuple[int, int, int] | None = None,
        crops: int = 1,
        positive: str | Sequence[str] | None = None,
        share: float = 0.5,
        **settings: Any,
    ) -> Loader:
        """Batches fetched ahead by threads; see `imgassets.stores.loader.Loader`.

        With `crop`, `crops` boxes of this size of each of `batch_size` volumes instead of the volumes: (batch_size *
        crops, x, y, z), a report and labels for each. Of the files no more is read. See
        `imgassets.stores.ct_crops.VolumeCrops` for which boxes, `positive` and `share`.
        """
        if crop is None:
            if crops != 1 or positive is not None:
                raise BadInput("crops and positive are for crops of volumes: give their size, crop=(96, 96, 96).")
            return super().loader(batch_size, **settings)
        from imgassets.stores.ct_crops import VolumeCrops

        return super().loader(batch_size, augment=VolumeCrops(crop, crops, positive, share), **settings)

    def boxes(
        self,
        index: int,
        starts: Any,
        size: tuple[int, int, int],
        out: NDArray[np.float16] | None = None,
    ) -> NDArray[np.float16]:
        """Copies of boxes of a volume that begin at `starts`, (n, 3) voxels: float16 (n, *size), into `out` if given.

        Of the file only the pages that hold them are read. Raises IndexError for a box that is not in the volume.
        """
        number, record = self.locate(index)
        low, sides = np.asarray(starts, np.int64).reshape(-1, 3), np.asarray(size, np.int64)
        if (low < 0).any() or (sides < 1).any() or (low + sides > record.shape).any():
            raise IndexError(f"boxes of {tuple(size)} voxels at {low.tolist()!s:.100} of a volume of {record.shape}")
        found = np.empty((len(low), *size), np.float16) if out is None else out
        with self._space().watched():
            volume = self._member(number, record, "volume").view("<f2").reshape(record.shape)
            look = os.access(self._paths[number], os.W_OK)
            boxes = [volume[tuple(map(slice, start, start + sides))] for start in low]
            for box in boxes:
                first, (plane, *within) = box.ctypes.data, box.strides
                pieces = range(first, first + len(box) * plane, plane)
                read_ahead(pieces, int(np.dot(sides[1:] - 1, within)) + 2, look=look)
            line = f"V{2 * int(sides[2])}"  # a tenth quicker than a number at a time
            for place, box in zip(found, boxes, strict=True):
                np.copyto(place.view(line), box.view(line))
        return found

    def told(self, index: int) -> tuple[str, Any]:
        """Report and labels of a volume, which is not read; the labels as `target_transform` has them."""
        number, record = self.locate(index)
        with self._space().watched():
            self._ask([self._member(number, record, what) for what in ("labels", "report")])
            _, report, labels = CtSplit.__getitem__(self, index)
        return report, self.target_transform(labels) if self.target_transform else labels

    @staticmethod
    def _ask(members: Sequence[NDArray[np.uint8]]) -> None:
        """Have members come, and nothing around them."""
        for member in members:
            read_ahead([member.ctypes.data], max(1, len(member)), look=False)

    def batch(self, indices: Sequence[int]) -> Any:
        """As `collated`; negative indices count from the end."""
        return self.collated(indices)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Volume, report, labels and key."""
        volume = array_field("image", np.float16, self.manifest["sample_shape"])
        labels = array_field("label", np.float32, (len(self.class_names),))
        return volume, Field("report", "text"), labels, Field("name", "text")

    def column(self, field: str, indices: Sequence[int]) -> Any:
        """Rows of a field: volumes (n, x, y, z), labels (n, classes), or bytes of reports or keys; no transforms."""
        if field == "name":
            return [self.name(int(row)).encode() for row in indices]
        place = {"image": 0, "report": 1, "label": 2}[field]
        values = [super(CtStore, self).__getitem__(int(row))[place] for row in indices]
        return [text.encode() for text in values] if field == "report" else np.stack(values)

    def name(self, index: int) -> str:
        """The key of a volume."""
        return self.locate(index)[1].key

    def place(self, index: int) -> Place:
        """Where a volume lies: its shard, and the bytes of it."""
        number, record = self.locate(index)
        path, (offset, size) = self._paths[number], record.span("volume")
        return slice_of(path, path.name, offset, size, record.key)

    def verify(self) -> None:
        """Read every volume again and compare its SHA-256.

        Raises:
            StoreError: one is damaged; names it and its shard.
        """
        for row in range(len(self)):
            number, record = self.locate(row)
            self._check(number, record, self._member(number, record, "volume"))

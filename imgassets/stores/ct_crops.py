"""Crops of CT volumes in one epoch: where each lies is drawn from seed, epoch and volume alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.augment.draws import BLOCK
from imgassets.errors import BadInput
from imgassets.formats.ct_split import Scan
from imgassets.stores.ct import CtStore
from imgassets.stores.extents import Index

if TYPE_CHECKING:
    import torch

SAMPLING = 2
"""Third word of the counter of the numbers that volumes are chosen by; an epoch's order has 0 and crops have 1."""


@dataclass(frozen=True)
class VolumeCrops:
    """Boxes of volumes, each as probable as any other, and which volumes they are taken of.

    Args:
        size: voxels of a crop along x, y and z.
        crops: how many of each volume.
        positive: a class, or several: an epoch then has as many volumes as without, `share` of which have one of them,
            and the others none. Every volume of a kind comes as often as any other of it, to within once.
        share: of the volumes with `positive`, from 0 to 1.

    Raises:
        BadInput: a value is out of its range.
    """

    size: tuple[int, int, int]
    crops: int = 1
    positive: str | Sequence[str] | None = None
    share: float = 0.5

    def __post_init__(self) -> None:
        sides = list(np.atleast_1d(np.asarray(self.size, object)))
        if len(sides) != 3 or not all(_whole(side) and side >= 1 for side in sides):
            raise BadInput(f"crop {self.size!r:.80}: expected three whole numbers of voxels along x, y and z.")
        if not _whole(self.crops) or self.crops < 1:
            raise BadInput(f"crops {self.crops!r:.80}: expected how many of each volume, 1 or more.")
        if not 0 <= self.share <= 1:
            raise BadInput(f"share {self.share}: expected a part of the volumes, from 0 to 1.")

    def starts(self, shape: Sequence[int], seed: int, epoch: int, row: int, turn: int) -> NDArray[np.int64]:
        """Where the crops begin, (crops, 3), of the volume `row` when it comes for the `turn`-th time, from 0."""
        key, counter = np.array([seed, epoch], np.uint64), np.array([turn * self.crops, row, 1, 0], np.uint64)
        numbers = np.random.Generator(np.random.Philox(key=key, counter=counter)).random((self.crops, BLOCK))
        return (numbers[:, :3] * (np.asarray(shape) - self.size + 1)).astype(np.int64)

    def rows(self, store: CtStore, seed: int, epoch: int) -> tuple[Index, Index]:
        """The volume of every place of an epoch, and how often it came before.

        Raises:
            BadInput: a class is not of the store, or no volume is of a kind that is asked for.
        """
        if self.positive is None:
            return np.arange(len(store)), np.zeros(len(store), np.int64)
        names = [self.positive] if isinstance(self.positive, str) else list(self.positive)
        if unknown := [name for name in names if name not in store.class_to_idx]:
            raise BadInput(f"positive: there is no class {unknown[0]!r:.60}, only {', '.join(store.classes)!s:.300}.")
        found: NDArray[np.bool_] = np.any(store.labels[:, [store.class_to_idx[name] for name in names]] > 0, 1)
        key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, SAMPLING, 0], np.uint64)
        random = np.random.Generator(np.random.Philox(key=key, counter=counter))
        return mixed(found, self.share, random, " or ".join(names))


def mixed(positive: NDArray[np.bool_], share: float, random: np.random.Generator, what: str) -> tuple[Index, Index]:
    """As many rows as there are, of both kinds, and how often each came before.

    Of the first t, t * share rounded down are positive; each kind comes in permutations of all its rows.

    Raises:
        BadInput: there is no row of a kind that is needed; `what` the positive ones are.
    """
    total = len(positive)
    whole = np.floor(np.arange(total + 1) * share + 1e-9)
    chosen = whole[1:] > whole[:-1]
    rows, turns = np.zeros(total, np.int64), np.zeros(total, np.int64)
    for kind, told in ((True, "has"), (False, "is without")):
        members, places = np.flatnonzero(positive == kind), np.flatnonzero(chosen == kind)
        if len(places) and not len(members):
            raise BadInput(f"No volume {told} {what}: a share of {share} cannot be drawn of {total} volumes.")
        rounds = -(-len(places) // max(1, len(members)))
        order = [random.permutation(members) for _ in range(rounds)]
        rows[places] = np.concatenate([np.empty(0, np.int64), *order])[: len(places)]
        turns[places] = np.arange(len(places)) // max(1, len(members))
    return rows, turns


@dataclass(frozen=True)
class CroppedStore:
    """What a loader needs of a store: the crops of one epoch, and a map-style dataset of the same.

    Raises:
        BadInput: a crop is larger than the volumes, or the crops' volumes cannot be chosen so.
    """

    store: CtStore
    crops: VolumeCrops
    seed: int
    epoch: int

    def __post_init__(self) -> None:
        shape = self.store.manifest["sample_shape"]
        if any(side > n for side, n in zip(self.crops.size, shape, strict=True)):
            raise BadInput(f"crop {self.crops.size} is larger than the volumes of {self.store.folder}: {tuple(shape)}.")
        _ = self._drawn  # whatever is wrong is said now

    @cached_property
    def _drawn(self) -> tuple[Index, Index]:
        return self.crops.rows(self.store, self.seed, self.epoch)

    @property
    def image_bytes(self) -> int | None:
        """Bytes of a volume's crops together, where they are handed over as they are stored."""
        return None if self.store.transform else 2 * self.crops.crops * int(np.prod(self.crops.size))

    def __len__(self) -> int:
        return len(self.store)

    def block_rows(self) -> int | None:
        """The store's."""
        return self.store.block_rows()

    def __getitem__(self, index: int) -> Scan:
        """The crops of one volume, (crops, x, y, z), its report and its labels."""
        place = range(len(self))[index]
        row, turn = (int(drawn[place]) for drawn in self._drawn)
        starts = self.crops.starts(self.store.manifest["sample_shape"], self.seed, self.epoch, row, turn)
        return Scan(self.store.boxes(row, starts, self.crops.size), *self.store.told(row))

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Items of a batch, one for each crop, as torch's DataLoader asks for them."""
        volumes, reports, labels = self.collated(np.asarray(indices, np.int64))
        return list(zip(volumes, reports, labels, strict=True))

    def collated(self, rows: Index, flat: torch.Tensor | None = None) -> Any:
        """Crops (n * crops, x, y, z) float16, those of a volume together, and the report and the labels of each."""
        import torch

        size, each, shape = self.crops.size, self.crops.crops, self.store.manifest["sample_shape"]
        if flat is None:
            flat = torch.empty((len(rows), 2 * each * int(np.prod(size))), dtype=torch.uint8)
        images = flat.view(torch.float16).view(len(rows), each, *size)
        told: list[tuple[str, Any]] = []
        drawn = zip(images.numpy(), *(part[rows].tolist() for part in self._drawn), strict=True)
        for place, row, turn in drawn:
            self.store.boxes(row, self.crops.starts(shape, self.seed, self.epoch, row, turn), size, place)
            told += [self.store.told(row)] * each
        labels: Any = [label for _, label in told]
        if self.store.target_transform is None:
            labels = torch.from_numpy(np.stack(labels))
        boxes: Any = images.flatten(0, 1)
        if self.store.transform:
            boxes = [self.store.transform(box) for box in boxes.numpy()]
        return boxes, [report for report, _ in told], labels


def _whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)

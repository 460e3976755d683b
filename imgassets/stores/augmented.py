"""A store of image files in one epoch: every image cropped, and resized, as seed, epoch and row have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgassets.augment import Augment
from imgassets.augment.draws import draws
from imgassets.augment.fitting import CHANNELS, fit
from imgassets.errors import BadInput
from imgassets.stores.ct import CtStore
from imgassets.stores.ct_crops import CroppedStore, VolumeCrops
from imgassets.stores.dataset import Store
from imgassets.stores.extents import Index
from imgassets.stores.items import Items

if TYPE_CHECKING:
    import torch


def augmented(store: object, augment: Augment | VolumeCrops, seed: int, epoch: int) -> AugmentedStore | CroppedStore:
    """A store as one epoch has it.

    Raises:
        BadInput: it has pixels instead of files, of another mode than RGB or greyscale, or labels of pixels.
    """
    if isinstance(augment, VolumeCrops) and isinstance(store, CtStore):
        return CroppedStore(store, augment, seed, epoch)
    if isinstance(augment, VolumeCrops):
        raise BadInput(f"VolumeCrops are for stores of CT volumes, not for a {type(store).__name__}.")
    if not isinstance(store, Store):
        raise BadInput(f"augment= is for stores of image files, not for a {type(store).__name__}.")
    fields = {field.name: field for field in store.fields}
    image, label = fields["image"], fields.get("label")
    if not image.ragged:
        raise BadInput(f"{store.path} has pixels of one size: augment= is for stores that keep image files.")
    mode = image.mode or "RGB"
    if mode not in CHANNELS:
        raise BadInput(f"{store.path} has images of mode {mode}: augment= makes {' and '.join(CHANNELS)} alone.")
    if label is not None and not label.scalar:
        raise BadInput(f"{store.path} has labels of more than a number, which augment= would leave uncropped.")
    return AugmentedStore(store, augment, seed, epoch, mode)


@dataclass(frozen=True)
class AugmentedStore:
    """What a loader needs of a store, and a map-style dataset of the same images for whoever goes on without it."""

    store: Store
    augment: Augment
    seed: int
    epoch: int
    mode: str
    """Pillow's mode of all images: the store's, or RGB where each file has its own."""

    @property
    def image_bytes(self) -> int | None:
        """Bytes of an image, where it is handed over as it is cropped."""
        return None if self.store.transform else self._nbytes

    @property
    def _nbytes(self) -> int:
        height, width = self.augment.shape
        return height * width * CHANNELS[self.mode]

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([range(len(self))[index]])[0]

    def __getitems__(self, indices: Sequence[int]) -> Items:
        """Items of a batch, as torch's DataLoader asks for them."""
        images, *rest = self.collated(np.asarray(indices, np.int64))
        return Items(images, rest[0] if rest else None)

    def block_rows(self) -> int | None:
        """The store's."""
        return self.store.block_rows()

    def collated(self, rows: Index, flat: torch.Tensor | None = None) -> Any:
        """(images, labels): uint8 (n, channels, height, width), in memory with channels last."""
        import torch

        if flat is None:
            flat = torch.empty((len(rows), self._nbytes), dtype=torch.uint8)
        images = flat.view(len(rows), *self.augment.shape, -1)
        numbers = draws(self.seed, self.epoch, rows, self.augment.blocks).tolist()
        places = images.numpy()

        def fill(k: int, data: memoryview) -> None:
            fit(data, self.mode, self.augment, numbers[k], places[k])

        return self.store.filled(rows, images.permute(0, 3, 1, 2), fill)

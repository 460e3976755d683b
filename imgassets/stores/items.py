"""Batches and items as tensors: what bytes become on their way to whoever trains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from imgassets.columns import Field
from imgassets.images.pixels import to_image

if TYPE_CHECKING:
    import torch

LABEL_MODES = {("|u1", ()): "L", ("|u1", (3,)): "RGB", ("|u1", (4,)): "RGBA", ("<u2", ()): "I;16", ("<i4", ()): "I"}
"""Pillow's mode of labels for every pixel, by dtype and channels."""


class Items(Sequence[Any]):
    """Items of one batch: a sequence for whoever collates them, and the batch as it was fetched for `collate`."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        return (self.images[index],) if self.labels is None else (self.images[index], self.labels[index])


def collate(items: Sequence[Any]) -> Any:
    """A `collate_fn` for torch's DataLoader that hands a fetched batch over without copying it again.

    Items that cannot be stacked stay lists.
    """
    import torch
    from torch.utils.data import default_collate

    if isinstance(items, Items) and not isinstance(items.images, list):
        labels = torch.tensor(items.labels) if isinstance(items.labels, list) else items.labels
        return (items.images,) if labels is None else (items.images, labels)
    columns = [list(column) for column in zip(*items, strict=True)]
    return tuple(default_collate(column) if _stackable(column) else column for column in columns)


def _stackable(column: Sequence[Any]) -> bool:
    import torch

    if isinstance(column[0], torch.Tensor):
        return all(value.shape == column[0].shape for value in column)
    return isinstance(column[0], int | float | np.ndarray)


def target_image(label: Any) -> Any:
    """A label for every pixel as a Pillow image, where Pillow has a mode for it; any other as it is."""
    import torch

    if not isinstance(label, torch.Tensor):
        return label
    array = label.numpy()
    plain = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    mode = LABEL_MODES.get((plain.dtype.str, plain.shape[2:]))
    return label if mode is None else to_image(plain, mode)


@cache
def torch_dtype(name: str) -> torch.dtype:
    """torch's dtype of a numpy dtype's name."""
    import torch

    return torch.from_numpy(np.empty(0, name)).dtype


def typed(flat: torch.Tensor, field: Field) -> torch.Tensor:
    """Bytes (n, bytes of a row) as rows of a field, uncopied."""
    return flat.view(torch_dtype(field.dtype)).view(len(flat), *field.shape)


def dressed(pixels: Any, field: Field | None = None) -> torch.Tensor:
    """Pixels as tensors with channels first, uncopied: bytes (n, bytes of an image), or one array (H, W, C)."""
    import torch

    if field is None:
        return torch.from_numpy(pixels).permute(2, 0, 1)
    images = typed(pixels, field)
    if field.layout == "HWC":
        return images.permute(0, 3, 1, 2)
    return images[:, None] if field.layout == "HW" else images


def worker_memory(rows: int, nbytes: int) -> torch.Tensor | None:
    """In a DataLoader's worker, memory (rows, nbytes) that the parent sees: batches are not copied on their way."""
    import torch
    from torch.utils.data import get_worker_info

    if get_worker_info() is None:
        return None
    storage = torch.UntypedStorage._new_shared(rows * nbytes)  # type: ignore[no-untyped-call]
    memory: torch.Tensor = torch.empty(0, dtype=torch.uint8).set_(storage)
    return memory.view(rows, nbytes)

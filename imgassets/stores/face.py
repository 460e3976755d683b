"""What every open store is to whoever uses it, whatever lies on the disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Field
from imgassets.places import Place

if TYPE_CHECKING:
    import torch

    from imgassets.stores.ahead import Read
    from imgassets.stores.loader import Loader
    from imgassets.stores.selected import SelectedStore


class OpenStore(ABC):
    """A map-style dataset: items are (image, label), of CT volumes (volume, report, labels)."""

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """Name, kind, dtype and shape of what a row holds."""

    @property
    @abstractmethod
    def class_to_idx(self) -> dict[str, int]:
        """Label by class name; empty where labels are no classes."""

    @property
    @abstractmethod
    def labels(self) -> NDArray[Any]:
        """All labels, (rows,), of CT volumes (rows, classes); StoreError where there are none that are numbers."""

    @property
    def classes(self) -> list[str]:
        """Class names by label."""
        numbers = self.class_to_idx
        return sorted(numbers, key=numbers.__getitem__)

    @abstractmethod
    def __len__(self) -> int:
        """Rows."""

    @abstractmethod
    def __getitem__(self, index: Any) -> Any:
        """The item of one row, or a batch for a slice or a list; negative indices count from the end."""

    @abstractmethod
    def batch(self, indices: Any) -> Any:
        """Some rows, images of one size as one tensor."""

    @abstractmethod
    def collated(self, rows: Any, flat: torch.Tensor | None = None) -> Any:
        """As `batch`, of rows known to be in range, into `flat`, uint8 (n, bytes of an image)."""

    @abstractmethod
    def column(self, field: str, indices: Any) -> Any:
        """Rows of a field as they are stored: an array (n, *shape), or bytes for fields of variable size."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What a row is called."""

    @abstractmethod
    def place(self, index: int) -> Place:
        """Where the image of one row lies: a file, and the bytes of it."""

    @abstractmethod
    def verify(self) -> None:
        """Read every byte again; StoreError where one is not what it was when it was written."""

    @abstractmethod
    def close(self) -> None:
        """Give back memory and files. Reading on is a StoreError."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    @abstractmethod
    def image_bytes(self) -> int | None:
        """Bytes of an image, where all have one size and are handed over as they are stored."""

    @abstractmethod
    def block_rows(self) -> int | None:
        """Rows that block shuffling keeps together, in formats that have such."""

    def ahead(self, rows: Any) -> list[Read]:
        """Calls that each have some bytes read that will be fetched soon; none where that is of no use."""
        return []

    def select(
        self,
        indices: Sequence[int] | NDArray[Any] | None = None,
        *,
        classes: str | Sequence[str] | None = None,
        where: Sequence[bool] | NDArray[np.bool_] | Callable[[Self], NDArray[np.bool_]] | None = None,
    ) -> SelectedStore:
        """Some rows as a store again, which reads them from this one.

        Args:
            indices: which, in this order, and as often as they stand there; negative ones count from the end.
            classes: those of these classes alone, by name; of CT volumes those with one of them.
            where: True or False for each row of this store, or a function of the store that gives these.

        Raises:
            BadInput: none of the three is given, a class is unknown, or `where` is something else.
        """
        from imgassets.stores.selected import SelectedStore, chosen

        return SelectedStore(self, chosen(self, indices, classes, where))

    def loader(self, batch_size: int, *, indices: Any = None, where: Any = None, **settings: Any) -> Loader:
        """Batches fetched ahead by threads; see `imgassets.stores.loader.Loader`.

        With `indices` or `where`, of the rows that `select` gives for them.
        """
        from imgassets.stores.loader import Loader

        if indices is not None or where is not None:
            return self.select(indices, where=where).loader(batch_size, **settings)
        return Loader(self, batch_size, **settings)

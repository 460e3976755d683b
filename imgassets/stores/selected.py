"""Some rows of a store, which are a store again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Field
from imgassets.errors import BadInput, StoreError
from imgassets.places import Place
from imgassets.stores.extents import Index, numbered
from imgassets.stores.face import OpenStore

if TYPE_CHECKING:
    import torch

    from imgassets.augment import Augment
    from imgassets.stores.ahead import Read
    from imgassets.stores.ct_crops import VolumeCrops
    from imgassets.stores.loader import Fetches, Loader


class Picked:
    """Some rows of a map-style dataset with batches: what a loader needs of a store."""

    def __init__(self, dataset: Any, rows: Index) -> None:
        self._dataset, self.rows = dataset, rows

    @property
    def dataset(self) -> Any:
        """Whose rows they are."""
        return self._dataset

    @property
    def image_bytes(self) -> int | None:
        """Bytes of an image, where all have one size and are handed over as they are stored."""
        nbytes: int | None = self.dataset.image_bytes
        return nbytes

    def block_rows(self) -> int | None:
        """The dataset's."""
        rows: int | None = self.dataset.block_rows()
        return rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """The item of one row, or a batch for a slice or a list; negative indices count from the end."""
        if isinstance(index, slice):
            return self.dataset[self.rows[index]]
        if isinstance(index, int) or not np.ndim(index):
            return self.dataset[self._row(index)]
        return self.dataset[self._rows(index)]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Any]:
        """Items of a batch, as torch's DataLoader asks for them."""
        rows = self._rows(indices)
        if hasattr(self.dataset, "__getitems__"):
            items: Sequence[Any] = self.dataset.__getitems__(rows)
            return items
        return [self.dataset[row] for row in rows.tolist()]

    def collated(self, rows: Index, flat: torch.Tensor | None = None) -> Any:
        """A batch of rows known to be in range, into `flat`, uint8 (n, bytes of an image)."""
        return self.dataset.collated(self.rows[rows], flat)

    def ahead(self, rows: Index) -> list[Read]:
        """Calls that each have some of the dataset's bytes read that will be fetched soon."""
        reads: Callable[[Index], list[Read]] = getattr(self.dataset, "ahead", lambda rows: [])
        return reads(self.rows[rows])

    def _rows(self, indices: Any) -> Index:
        return self.rows[numbered(indices, len(self.rows))]

    def _row(self, index: Any) -> int:
        return int(self._rows([index])[0])


class SelectedStore(Picked, OpenStore):
    """Row k is row `rows[k]` of the `dataset`, an open store.

    Labels and classes keep their numbers, also where no row of a class is left; names and places are those of the
    store. It is pickled as the store is, with `rows`.
    """

    def __init__(self, store: OpenStore, rows: Index) -> None:
        if isinstance(store, SelectedStore):
            rows, store = store.rows[rows], store.dataset
        rows = rows.copy()
        rows.setflags(write=False)
        super().__init__(store, rows)

    @property
    def dataset(self) -> Any:
        """The store, which is never a selection itself; StoreError where this one was closed."""
        if self._dataset is None:
            raise StoreError(f"The selection of {len(self)} rows was closed: select them anew to read them.")
        return self._dataset

    @property
    def fields(self) -> tuple[Field, ...]:
        """Name, kind, dtype and shape of what a row holds."""
        fields: tuple[Field, ...] = self.dataset.fields
        return fields

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Label by class name, of all classes of the store."""
        numbers: dict[str, int] = self.dataset.class_to_idx
        return numbers

    @cached_property
    def labels(self) -> NDArray[Any]:
        """Labels of the rows; StoreError where there are none that are numbers."""
        labels: NDArray[Any] = self.dataset.labels[self.rows]
        labels.setflags(write=False)
        return labels

    def batch(self, indices: Any) -> Any:
        """Some rows, images of one size as one tensor."""
        return self.dataset.collated(self._rows(indices))

    def column(self, field: str, indices: Any) -> Any:
        """Rows of a field as they are stored: an array (n, *shape), or bytes for fields of variable size."""
        return self.dataset.column(field, self._rows(indices))

    def name(self, index: int) -> str:
        """What the store calls a row."""
        return str(self.dataset.name(self._row(index)))

    def place(self, index: int) -> Place:
        """Where the image of one row lies: a file, and the bytes of it."""
        place: Place = self.dataset.place(self._row(index))
        return place

    def verify(self) -> None:
        """Read every byte of the store again, also of rows that are not selected."""
        self.dataset.verify()

    def close(self) -> None:
        """Let go of the store, which is closed once nothing else refers to it. Reading on is a StoreError."""
        self._dataset = None

    def loader(self, batch_size: int, **settings: Any) -> Loader:
        """As the store's; BadInput where there is no row."""
        if not len(self):
            raise BadInput(f"No row of {self.dataset!r:.200} was selected: a loader needs one, look at its labels.")
        return super().loader(batch_size, **settings)

    def __getstate__(self) -> dict[str, Any]:
        return {"_dataset": self._dataset, "rows": self.rows}

    def __repr__(self) -> str:
        return f"{len(self)} rows of {self._dataset!r}"


def chosen(store: OpenStore, indices: Any, classes: str | Sequence[str] | None, where: Any) -> Index:
    """Rows of a store at `indices`, in their order, that are of `classes`, and for which `where` holds.

    Raises:
        BadInput: none of the three is given, a class is unknown, or `where` is not True or False for each row.
    """
    if indices is None and classes is None and where is None:
        raise BadInput("select needs to know which rows: give indices, classes or where.")
    rows = np.arange(len(store)) if indices is None else numbered(indices, len(store))
    if classes is not None:
        rows = rows[_of_classes(store, [classes] if isinstance(classes, str) else list(classes))[rows]]
    return rows if where is None else rows[_held(store, where)[rows]]


def augmented(store: object, augment: Augment | VolumeCrops, seed: int, epoch: int) -> Fetches:
    """As `imgassets.stores.augmented.augmented`; a selected row's pixels are those that it has in the whole store."""
    from imgassets.stores.augmented import augmented as whole
    from imgassets.stores.dataset import Store

    if not isinstance(store, SelectedStore):
        return whole(store, augment, seed, epoch)
    if not isinstance(store.dataset, Store):
        kind = type(store.dataset).__name__
        raise BadInput(f"augment= of selected rows is for stores of image files, not for a {kind}.")
    return Picked(whole(store.dataset, augment, seed, epoch), store.rows)


def _of_classes(store: OpenStore, names: Sequence[str]) -> NDArray[np.bool_]:
    numbers, labels = store.class_to_idx, store.labels
    if not numbers:
        raise BadInput(f"{store!r:.200} has no names of classes: select by where=lambda store: store.labels == 3.")
    if unknown := [name for name in names if name not in numbers]:
        raise BadInput(f"classes: there is no {unknown[0]!r:.60}, only {', '.join(store.classes)!s:.300}.")
    columns = [numbers[name] for name in names]
    if labels.ndim == 1:
        return np.isin(labels, columns)
    if labels.shape[1:] != (len(numbers),):
        raise BadInput(f"{store!r:.200} has labels of shape {labels.shape[1:]}, which are no classes: select by where.")
    found: NDArray[np.bool_] = np.any(labels[:, columns] > 0, 1)
    return found


def _held(store: OpenStore, where: Any) -> NDArray[np.bool_]:
    found = np.asarray(where(store) if callable(where) else where)
    if found.dtype != bool or found.shape != (len(store),):
        raise BadInput(
            f"where is {found.dtype} of shape {found.shape}: expected True or False for each of the {len(store)} rows, "
            "or a function of the store that gives these."
        )
    return found

"""Images of an indexed tar archive as a source: read where they lie, never unpacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import numbers
from imgassets.sources.files import ImageFiles, Item

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ["name", "class_id", "offset", "size", "problem"]
"""What `tar_files` reads of an index."""


class IndexItems(Sequence[Item]):
    """The rows of an index as `Item`s, made when they are asked for: a million of them would fill the memory."""

    def __init__(self, archive: Path, rows: pa.Table) -> None:
        self._archive = archive
        self._names, self._problems = rows["name"], rows["problem"]
        self._class_ids, self._offsets, self.sizes = (numbers(rows[c]) for c in ("class_id", "offset", "size"))

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def name_sizes(self) -> NDArray[np.int64]:
        """Bytes of each name."""
        import pyarrow.compute as pc

        return numbers(pc.binary_length(self._names))

    @overload
    def __getitem__(self, i: int) -> Item: ...
    @overload
    def __getitem__(self, i: slice) -> list[Item]: ...
    def __getitem__(self, i: int | slice) -> Item | list[Item]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        return Item(
            str(self._names[i].as_py()),
            self._archive,
            int(self._class_ids[i]),
            int(self._offsets[i]),
            int(self.sizes[i]),
            problem=str(self._problems[i].as_py() or ""),
        )


def tar_files(archive: Path, rows: pa.Table, class_to_idx: Mapping[str, int]) -> ImageFiles:
    """The images of an index's rows, in their order; those with a problem are samples that cannot be used."""
    return ImageFiles(IndexItems(archive, rows), class_to_idx, about={"kind": "tar_index"})

"""Artifacts of other kinds, opened as stores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.stores.artifacts.activations import ACTIVATIONS
from imgassets.stores.artifacts.arrays import ARRAYS
from imgassets.stores.artifacts.found import Kind
from imgassets.stores.artifacts.pngs import PNGS
from imgassets.stores.codec import Extents
from imgassets.stores.dataset import Store, Transform
from imgassets.stores.storefile import StoreInfo

KINDS = (ARRAYS, ACTIVATIONS, PNGS)


class ArtifactStore(Store):
    """Samples of arrays, of a layer of activations, or of a tar of PNGs.

    Items of activations are (values of the layer, class_id), of PNGs without labels (image,).
    """

    def __init__(
        self,
        path: str,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        part: str = "",
    ) -> None:
        self._part = part
        super().__init__(path, transform, target_transform)

    @staticmethod
    def lies_at(path: str | os.PathLike[str]) -> bool:
        """Whether there is such an artifact."""
        return "://" not in str(path) and bool(_parts(_folder(path)[0]))

    @property
    def folder(self) -> Path:
        """Of the files; the path may be one of them."""
        return _folder(self.path)[0]

    def _read_info(self) -> StoreInfo:
        folder, named = _folder(self.path)
        found = _parts(folder)
        part = self._part or named or (next(iter(found)) if len(found) == 1 else "")
        if part not in found:
            listed = ", ".join(found)
            if part:
                raise MissingUpstream(f"{self.path} has no {part!r}, only {listed}: name one of these.")
            raise BadInput(f"{self.path} holds {listed}: say which, e.g. layer={next(iter(found))!r}.")
        opened = found[part].open(folder, part)
        if not opened.info.rows:
            raise StoreError(f"{self.path} holds no samples: materialize its partition again.")
        self._where = opened.extents
        return opened.info

    def _extents(self) -> Extents:
        return self._where

    def _arguments(self) -> tuple[Any, ...]:
        return *super()._arguments(), self._part


def _folder(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """The folder, and what of it is asked for where the path is a file."""
    place = Path(path)
    return (place.parent, place.stem) if place.suffix == ".tar" and place.is_file() else (place, "")


def _parts(folder: Path) -> Mapping[str, Kind]:
    return {part: kind for kind in KINDS for part in kind.parts(folder)}

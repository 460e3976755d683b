"""`images.npy` and `labels.npy` as a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from imgassets.classes import imagenet_classes
from imgassets.columns import Field, array_field
from imgassets.errors import StoreError
from imgassets.formats.arrays import IMAGES, LABELS
from imgassets.formats.npy import read_header
from imgassets.stores.artifacts.found import Found, Kind, record_of
from imgassets.stores.extents import Extent, StoreFiles, one_run
from imgassets.stores.storefile import Shard, StoreInfo

FORMAT = "npy/1"


def _parts(folder: Path) -> Sequence[str]:
    return ["arrays"] if (folder / IMAGES).is_file() and (folder / LABELS).is_file() else []


def _open(folder: Path, part: str) -> Found:
    fields, rows, starts = [], [], {}
    for name, file in (("image", IMAGES), ("label", LABELS)):
        with (folder / file).open("rb") as opened:
            shape, dtype, starts[name] = read_header(opened, str(folder / file))
        layout, mode = ("CHW", "RGB") if name == "image" else ("", "")
        fields.append(array_field(name, dtype, shape[1:], layout, mode))
        rows.append(shape[0])
    if rows[0] != rows[1] or not fields[1].scalar or len(fields[0].shape) != 3:
        raise StoreError(f"{folder} holds {rows[0]} images and {rows[1]} labels: materialize its partition again.")

    def extents(files: StoreFiles, stem: str, _: Sequence[Field], rows: int) -> Iterator[tuple[str, Extent]]:
        for field, file in zip(fields, (IMAGES, LABELS), strict=True):
            yield field.name, one_run(file, starts[field.name], field.nbytes)

    shard = Shard("arrays", rows[0], (record_of(folder, IMAGES), record_of(folder, LABELS)))
    classes = imagenet_classes().class_to_idx
    return Found(StoreInfo(FORMAT, tuple(fields), (shard,), classes, {"kind": "arrays"}), extents)


ARRAYS = Kind(_parts, _open)

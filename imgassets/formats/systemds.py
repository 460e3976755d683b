"""What the SystemDS formats share: where rows come from, names of files, and the .mtd file beside each matrix."""

from __future__ import annotations

import json
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput

GIB = 2**30
CLASSES = 1000
"""Columns of a one-hot label row: one per class of ILSVRC2012."""
VALUES: NDArray[np.float32] = np.arange(256, dtype=np.float32) / np.float32(255)
"""The matrix value of each pixel level: float32(v) / 255."""
_MATRIX_KEYS = ("data_type", "value_type", "format", "rows", "cols", "nnz", "rows_in_block", "cols_in_block")
_TEXT_KEYS = ("header", "sep", "fill", "default", "naStrings")
_FREE_KEYS = ("description", "author", "created")
MTD_KEYS = frozenset({*_MATRIX_KEYS, *_TEXT_KEYS, *_FREE_KEYS})
"""Keys SystemDS 3.4.0 knows; any other makes its read() fail."""
MOST_GIB = 2.0**20


class RowSource(Protocol):
    """Rows of pixels by global index; `take` must be safe to call from several threads."""

    @property
    def width(self) -> int:
        """Values in a row."""

    def __len__(self) -> int:
        """Rows there are."""

    def take(self, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Copy rows `indices` (n,) to `out` (n, width), in that order."""


def size_text(gib: float) -> str:
    """A size in GiB as file names carry it: 2 → `2`, 1.5 → `1.5`, 0.05 → `0.05`; reads back to the same float.

    Raises BadInput unless 0 < gib <= 2**20.
    """
    if isinstance(gib, bool) or not isinstance(gib, (int, float)) or not 0 < gib <= MOST_GIB:
        raise BadInput(
            f"size of the CSV sample is {gib!r}: expected GiB as a number above 0 and at most {MOST_GIB:.0f}"
        )
    return np.format_float_positional(float(gib), unique=True, trim="-")


def sample_names(split: str, size: str, suffix: str) -> tuple[str, str]:
    """Names of a sample's data and label matrix: `imagenet_val_2GB.csv` and `imagenet_val_labels_2GB.csv`."""
    return f"imagenet_{split}_{size}GB.{suffix}", f"imagenet_{split}_labels_{size}GB.{suffix}"


def mtd_bytes(rows: int, cols: int, nnz: int, **format_keys: Any) -> bytes:
    """Text of the .mtd file of a matrix.

    SystemDS trusts `rows` and `nnz` unseen: rows too many become zero rows and a wrong nnz gives wrong counts, both
    without a word. So they must be exact.
    """
    meta = {"data_type": "matrix", "value_type": "double", **format_keys, "rows": rows, "cols": cols, "nnz": nnz}
    assert set(meta) <= MTD_KEYS
    return json.dumps(meta, indent=2).encode() + b"\n"


def check_columns(columns: NDArray[np.integer], rows: RowSource, classes: int) -> None:
    """Raise BadInput unless there is one column in 0..classes-1 for each row."""
    if len(columns) != len(rows):
        raise BadInput(f"{len(columns)} labels for {len(rows)} images: expected one label for each image")
    if len(columns) and not 0 <= columns.min() <= columns.max() < classes:
        raise BadInput(
            f"one-hot columns run from {columns.min()} to {columns.max()}, expected 0..{classes - 1}: check the labels"
        )


def take(rows: RowSource, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Rows `indices` of `rows` as a new uint8 (n, width) array."""
    out = np.empty((len(indices), rows.width), np.uint8)
    rows.take(indices, out)
    return out

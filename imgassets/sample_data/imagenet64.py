"""ImageNet64 in small: ten uneven train batches and val_data, some stored and some deflated, as found in the wild."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.classes import imagenet_classes
from imgassets.sample_data.pictures import picture

ROWS = (36, 41, 29, 52, 44, 38, 33, 47, 40, 31)
"""Of the train batches; uneven, so that a mistaken offset shows."""
VAL_ROWS = 60
CLASSES = 25
"""Classes that occur, spread over the 1000."""


def write(raw: Path) -> None:
    """Write `imagenet64/train_data_batch_{1..10}.npz` and `val_data.npz` below `raw`."""
    folder = raw / "imagenet64"
    folder.mkdir(parents=True, exist_ok=True)
    class_ids = np.linspace(0, 999, CLASSES).astype(np.int64)
    labels = imagenet_classes().devkit_ids[class_ids]
    parts = {f"train_data_batch_{i + 1}": rows for i, rows in enumerate(ROWS)} | {"val_data": VAL_ROWS}
    batches = {}
    for number, (name, rows) in enumerate(parts.items()):
        kinds = np.random.default_rng(number).integers(0, CLASSES, rows)
        batches[name] = (
            np.stack([_planar(1000 * number + i, kind / CLASSES) for i, kind in enumerate(kinds)]),
            labels[kinds],
        )
    train = np.concatenate([images for name, (images, _) in batches.items() if name != "val_data"])
    for number, (name, (images, targets)) in enumerate(batches.items()):
        members: dict[str, NDArray[Any]] = {"data": images, "labels": targets}
        if name != "val_data":
            members["mean"] = train.mean(axis=0)
        _save(folder / f"{name}.npz", members, zipfile.ZIP_STORED if number % 3 == 0 else zipfile.ZIP_DEFLATED)


def _planar(seed: int, hue: float) -> NDArray[np.uint8]:
    return picture(seed, 64, 64, hue).transpose(2, 0, 1).reshape(-1)


def _save(path: Path, members: dict[str, NDArray[Any]], compression: int) -> None:
    """As `np.savez`, but the same bytes each time: the zip's clock is left at its epoch."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)

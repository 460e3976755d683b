"""Rows, stages and samples that the tests of the SystemDS formats share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgassets.commit import Location, Recipe, Stage
from imgassets.formats.systemds_csv import CELLS


@dataclass
class ArrayRows:
    """Rows of an array, as a `RowSource` that remembers who read how much."""

    pixels: NDArray[np.uint8]
    taken: int = 0
    threads: set[str] = field(default_factory=set)

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        self.taken += len(indices)
        self.threads.add(threading.current_thread().name)
        np.take(self.pixels, indices, axis=0, out=out)


def images(count: int, width: int, seed: int = 0, darkest: float = 20.0) -> NDArray[np.uint8]:
    """Pixels with neighbours alike and every image of its own brightness, so that rows differ in length."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(darkest, 200, (count, 1)) + np.cumsum(rng.normal(0, 6, (count, width)), axis=1)
    return np.clip(level, 0, 255).astype(np.uint8)


def new_stage(folder: Path) -> Stage:
    """A stage that `folder` is published from."""
    stage = Stage(Location(folder.parent, folder, folder=True), Recipe("demo/csv", "val", {}, {}, "csv/1", "1"))
    stage.open(resume=True)
    return stage


def slow_text(pixels: NDArray[np.uint8]) -> bytes:
    """The CSV text of `pixels`, cell by cell."""
    return b"".join(b",".join(CELLS[v] for v in row) + b"\n" for row in pixels.tolist())

"""Datasets as somebody's package would have them: shapes drawn into files, and what can be wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NO_FUNCTION = 3


class Shapes:
    """Pictures below `<root>/<split>/<class>-<number>.png`, decoded."""

    class_to_idx = {"disc": 0, "ring": 1}  # noqa: RUF012  (as torchvision has it)

    def __init__(self, root: str, split: str = "all", upside_down: bool = False) -> None:
        self.files = sorted(Path(root, split).glob("*.png"))
        self.upside_down = upside_down

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with Image.open(self.files[index]) as image:
            pixels = np.asarray(image.convert("RGB"))
        picture = Image.fromarray(pixels[::-1] if self.upside_down else pixels)
        return picture, self.class_to_idx[self.files[index].name.partition("-")[0]]


class Noise(Shapes):
    """Other pixels each time."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return np.random.default_rng().integers(0, 255, (3, 8, 8), np.uint8), index


def files(root: str, split: str) -> Any:
    """Items as torchvision's folders have them: (path, label), read from the files."""
    found = Shapes(root, split)
    found.samples = [(str(path), k % 2) for k, path in enumerate(found.files)]  # type: ignore[attr-defined]
    return found


def broken(root: str) -> Any:
    """No dataset at all."""
    raise RuntimeError(f"nothing\nin {Path(root).name}")

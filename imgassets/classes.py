"""The 1000 ImageNet classes in the three numberings that must never be mixed.

| name | range | order | used by |
|---|---|---|---|
| `devkit_id` | 1..1000 | ILSVRC devkit | labels of the downsampled-ImageNet NPZ files, ILSVRC ground-truth file |
| `class_id` | 0..999 | rank of the synset, sorted | torchvision, timm, EDM/DMD2 networks, everything here |
| TFRecord label | 1..1000 | `class_id` + 1 | `image/class/label` |

No class has the same place in the first two. Short names are no keys: `crane` and `maillot` occur twice.
The table is the ILSVRC2012 devkit's (`map_clsloc.txt`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_CLASS = -1
"""In the place of a class_id: an image of none of the 1000 classes."""


@dataclass(frozen=True)
class ClassTable:
    """Synsets and names by `class_id`, and the two ways between `class_id` and devkit label."""

    synsets: tuple[str, ...]
    """WordNet ids such as `n01440764`, sorted."""
    names: tuple[str, ...]
    """Short names such as `tench`, by class_id."""
    devkit_ids: NDArray[np.int64]
    """(1000,) devkit label 1..1000 of each class_id."""
    class_ids: NDArray[np.int64]
    """(1001,) class_id of each devkit label; place 0, which is no label, holds -1."""

    def class_id(self, synset: str) -> int:
        """Rank of a synset; KeyError if it is none of the 1000."""
        return self.class_to_idx[synset]

    @cached_property
    def class_to_idx(self) -> dict[str, int]:
        """class_id by synset."""
        return {synset: class_id for class_id, synset in enumerate(self.synsets)}

    def described(self, class_id: int) -> tuple[str, str] | tuple[None, None]:
        """Synset and short name of a class_id; None for `NO_CLASS`."""
        return (None, None) if class_id == NO_CLASS else (self.synsets[class_id], self.names[class_id])

    def from_devkit(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """class_ids of devkit labels, int64 of the same shape; ValueError unless all are 1..1000."""
        if labels.size and not (labels.min() >= 1 and labels.max() <= len(self.synsets)):
            raise ValueError(f"labels {labels.min()}..{labels.max()} are not all within 1..{len(self.synsets)}")
        class_ids: NDArray[np.int64] = self.class_ids[labels]
        return class_ids


@cache
def imagenet_classes() -> ClassTable:
    """The table of all 1000 classes."""
    text = resources.files("imgassets").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    rows = sorted(csv.DictReader(text.splitlines()), key=lambda row: row["synset"])
    devkit_ids = np.array([int(row["clsloc_id"]) for row in rows])
    class_ids = np.full(len(rows) + 1, -1)
    class_ids[devkit_ids] = np.arange(len(rows))
    synsets, names = (tuple(row[column] for row in rows) for column in ("synset", "short_name"))
    return ClassTable(synsets, names, devkit_ids, class_ids)

"""Which sample each row of an artifact is, whatever its format: what tells a sample's twins in other artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.places import Place


@dataclass(frozen=True)
class Sample:
    """One sample of a dataset."""

    series: str
    """What numbers it, `dataset/split`: rows of the same series and number are the same sample."""
    number: int


@dataclass(frozen=True)
class Rows:
    """The rows of one artifact as samples of a series."""

    series: str
    numbers: Callable[[], NDArray[np.int64]]
    """(rows,): the number of each row's sample; -1 for a row that is none of the series."""
    place: Callable[[int], Place]
    """Where a row lies."""
    source: Callable[[int], Place] | None = None
    """Where in the raw inputs a row comes from, if this artifact is what knows it."""
    about: Callable[[int], Mapping[str, Any]] = lambda row: {}
    """What the artifact says of a row, as JSON values."""

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        return self.numbers()

    def __len__(self) -> int:
        return len(self._numbers)

    def sample(self, row: int) -> Sample:
        """The sample of a row, 0 ≤ row < len."""
        return Sample(self.series, int(self._numbers[row]))

    def find(self, sample: Sample) -> int | None:
        """The row that holds a sample."""
        if sample.series != self.series:
            return None
        found = np.flatnonzero(self._numbers == sample.number)
        return int(found[0]) if len(found) else None

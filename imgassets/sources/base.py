"""Where samples come from: one interface for arrays, folders, archives and torch datasets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.columns import Columns, Field
from imgassets.errors import BadInput

LOOKED_AT = 1000
"""Samples whose sizes stand for all of them."""


class BadSamples(Exception):
    """Some of the samples that were asked for cannot be used; `reasons` says why, by index.

    A reason follows a name and a colon: `is empty`.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(f"{len(reasons)} samples")
        self.reasons = dict(reasons)


@dataclass(frozen=True)
class Samples:
    """Some samples, and what a reader should know of them."""

    columns: Columns
    notes: Mapping[str, int] = field(default_factory=dict)
    """How many have something unusual, e.g. `cmyk: 2`."""
    damaged: Mapping[int, str] = field(default_factory=dict)
    """By index, what a decoder complained of in images that it could decode all the same."""


class Source(ABC):
    """Samples in one fixed order, read in ranges; threads may read at once.

    The order and the number of samples are known before any is read, and never change: they decide which shard a
    sample belongs to.
    """

    fields: tuple[Field, ...]
    class_to_idx: Mapping[str, int] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples, those included that turn out to be unusable."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> Samples:
        """Some samples, in that order.

        Raises:
            BadSamples: some cannot be used; all of `indices` were looked at.
        """

    def unjudged(self, indices: Sequence[int]) -> Samples:
        """As `read`, for whoever decodes every image of it and so judges them: images may be cut or damaged."""
        return self.read(indices)

    def start_thread(self) -> None:  # noqa: B027  (most sources have nothing to prepare)
        """Called once in every thread that will read."""

    def name(self, index: int) -> str:
        """What to call a sample in a message."""
        return f"sample {index}"

    def nbytes(self, index: int) -> int:
        """About how many bytes a sample takes in a store."""
        return sum(field.nbytes if not field.ragged else 1 << 16 for field in self.fields)

    @cached_property
    def mean_bytes(self) -> int:
        """The mean of `nbytes`.

        Raises:
            BadInput: there are no samples.
        """
        count = len(self)
        if count == 0:
            raise BadInput("There are no samples to store: the source is empty.")
        some = range(0, count, max(1, count // LOOKED_AT))
        return max(1, sum(map(self.nbytes, some)) // len(some))

    def sizes(self) -> Mapping[str, NDArray[np.int64]]:
        """(samples,): bytes of each sample's value of the fields of variable size, by field; files are not read."""
        return {}

    @property
    def about(self) -> Mapping[str, Any]:
        """What decides the samples beside their bytes (size, mode, …), as JSON values."""
        return {}

    @property
    def walked(self) -> Mapping[str, Any]:
        """What a walk over folders found, as JSON values: `walked` files, and `passed_over`, by reason, those of them
        that are no samples. Empty where nothing was walked.
        """
        return {}


class Wrapped(Source):
    """Another source's samples, changed on their way: all but what is read of them is the other source's."""

    def __init__(self, source: Source) -> None:
        self._source, self.class_to_idx, self.fields = source, source.class_to_idx, source.fields

    def __len__(self) -> int:
        return len(self._source)

    def start_thread(self) -> None:
        """As the other source."""
        self._source.start_thread()

    def name(self, index: int) -> str:
        """The name in the other source."""
        return self._source.name(index)

    def nbytes(self, index: int) -> int:
        """As the other source has it."""
        return self._source.nbytes(index)

    def sizes(self) -> Mapping[str, NDArray[np.int64]]:
        """Of the other source."""
        return self._source.sizes()

    @property
    def about(self) -> Mapping[str, Any]:
        """Of the other source."""
        return self._source.about

    @property
    def walked(self) -> Mapping[str, Any]:
        """Of the other source."""
        return self._source.walked

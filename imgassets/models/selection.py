"""Which samples of a split are taken: one choice over the global index, of which each partition does its share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Selection:
    """A rule that picks samples; the default takes every row."""

    num_samples: int | None = None
    """How many of the whole split; None: all that the other conditions leave."""
    seed: int = 10
    classes: tuple[int, ...] = ()
    """Only these class_ids (0..999); empty: all."""
    balanced: bool = False
    """As many of each class as of any other; where `num_samples` does not divide, some classes give one more."""
    percentile: tuple[float, float] = (0.0, 100.0)
    """Of the samples that have a score, those from the lower to the upper percentile, both included."""

    def __post_init__(self) -> None:
        if self.num_samples is not None and self.num_samples < 1:
            raise BadInput(f"num_samples={self.num_samples}: at least 1, or nothing for every row")
        low, high = self.percentile
        if not 0 <= low < high <= 100:
            raise BadInput(f"percentile={list(self.percentile)}: 0 <= lower < upper <= 100 is needed")
        if len(set(self.classes)) != len(self.classes) or any(not 0 <= c < 1000 for c in self.classes):
            raise BadInput(f"classes={list(self.classes)}: class_ids 0 to 999 are needed, each once")

    @property
    def takes_all(self) -> bool:
        return self.num_samples is None and not self.classes and not self.balanced and self.percentile == (0.0, 100.0)


def select(class_ids: Sequence[int] | Index, rule: Selection, scores: NDArray[np.float64] | None = None) -> Index:
    """The chosen global indices, ascending.

    `class_ids` (N,) is the class of every row of the split in the order of the global index; `scores` (N,) the score
    of each, NaN where it has none. Rows are shuffled as NumPy's legacy generator does with `rule.seed` (a stream that
    NumPy has frozen), and the first that fit are taken: with no other condition, those the published extraction takes.

    Raises:
        BadInput: fewer samples fit than were asked for, or a class is not there.
    """
    classes = np.asarray(class_ids, np.int64)
    fits = np.ones(len(classes), bool)
    if rule.classes:
        fits &= np.isin(classes, rule.classes)
        if absent := sorted(set(rule.classes) - set(classes[fits].tolist())):
            raise BadInput(f"classes={list(rule.classes)}: the split has no sample of class {absent[0]}")
    if rule.percentile != (0.0, 100.0):
        if scores is None:
            raise BadInput(f"percentile={list(rule.percentile)}: name the Parquet file and column of the score too")
        scored = np.isfinite(scores)
        if not scored.any():
            raise BadInput("score: not one sample of the split has a score; the file's global_index fits another split")
        low, high = np.percentile(scores[scored], rule.percentile)
        with np.errstate(invalid="ignore"):
            fits &= scored & (scores >= low) & (scores <= high)
    order = np.random.RandomState(rule.seed).permutation(len(classes))
    order = order[fits[order]]
    chosen = _balance(classes, order, rule) if rule.balanced else order
    if rule.num_samples is not None:
        if len(chosen) < rule.num_samples:
            raise BadInput(
                f"num_samples={rule.num_samples}: only {len(chosen)} of the split's {len(classes)} samples fit; "
                "ask for fewer, or loosen classes and percentile"
            )
        chosen = chosen[: rule.num_samples]
    return np.sort(chosen)


def _balance(classes: Index, order: Index, rule: Selection) -> Index:
    """Reorder so that every prefix holds as many of each class as of any other, to within one."""
    present = np.array(rule.classes) if rule.classes else np.unique(classes[order])
    rank = np.empty(len(order), np.int64)
    counts = np.empty(len(present), np.int64)
    for i, c in enumerate(present):
        mine = np.flatnonzero(classes[order] == c)
        rank[mine] = np.arange(len(mine))
        counts[i] = len(mine)
    least = int(counts.min()) if len(counts) else 0
    each, extra = (least, 0) if rule.num_samples is None else divmod(rule.num_samples, max(len(present), 1))
    if least < each or np.count_nonzero(counts > each) < extra:
        rarest = present[counts.argmin()]
        raise BadInput(
            f"num_samples={rule.num_samples}, balanced: {each + bool(extra)} of each of {len(present)} classes are "
            f"needed, class {rarest} has {least}; ask for at most {least * len(present)}"
        )
    by_rank = order[np.argsort(rank, kind="stable")]
    return by_rank[: each * len(present) + extra]

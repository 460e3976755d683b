"""Statistics of features, streamed, and the distances between real and generated ones that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput

Features = NDArray[np.floating]
Float64 = NDArray[np.float64]


@dataclass
class Moments:
    """Count, mean and scatter of the rows seen so far, in float64, merged as Chan et al. (1983) do."""

    count: int
    mean: Float64
    """(C,)"""
    scatter: Float64
    """(C, C): the sum over rows of the outer product of their deviation from the mean."""

    @classmethod
    def zeros(cls, channels: int) -> Moments:
        return cls(0, np.zeros(channels), np.zeros((channels, channels)))

    @classmethod
    def of(cls, rows: Features) -> Moments:
        """Moments of (N, C) rows."""
        x = np.asarray(rows, np.float64)
        if not len(x):
            return cls.zeros(x.shape[1])
        mean = x.mean(axis=0)
        x = x - mean
        return cls(len(x), mean, x.T @ x)

    def add(self, other: Moments) -> None:
        """Take another stretch of rows in."""
        if not other.count:
            return
        total = self.count + other.count
        step = other.mean - self.mean
        self.scatter += other.scatter + np.outer(step, step) * (self.count * other.count / total)
        self.mean = self.mean + step * (other.count / total)
        self.count = total

    @property
    def covariance(self) -> Float64:
        """(C, C), divided by N - 1; `BadInput` for fewer than two rows."""
        if self.count < 2:
            raise BadInput(f"a covariance needs at least 2 samples, there are {self.count}; take more samples")
        return self.scatter / (self.count - 1)

    def as_arrays(self, layer: str) -> dict[str, NDArray[Any]]:
        """The members of `moments.npz` for one layer."""
        return {f"{layer}/count": np.array(self.count), f"{layer}/mean": self.mean, f"{layer}/scatter": self.scatter}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], layer: str) -> Moments:
        return cls(
            int(arrays[f"{layer}/count"]),
            np.asarray(arrays[f"{layer}/mean"], np.float64),
            np.asarray(arrays[f"{layer}/scatter"], np.float64),
        )


class Accumulator:
    """Moments of rows that come in small batches, gathered first: a few large products instead of many small ones."""

    def __init__(self, channels: int, block: int = 1024) -> None:
        self._moments, self._block = Moments.zeros(channels), block
        self._waiting: list[Features] = []

    def add(self, rows: Features) -> None:
        """Take (B, C) rows."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= self._block:
            self._gather()

    def moments(self) -> Moments:
        """Of all rows so far."""
        self._gather()
        return self._moments

    def _gather(self) -> None:
        if self._waiting:
            self._moments.add(Moments.of(np.concatenate(self._waiting)))
        self._waiting = []


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of the two covariances, as in FID (Heusel et al. 2017).

    The trace of the root is taken from the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ b.covariance @ root)
    trace = float(np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(np.clip(inner, 0, None)).sum())
    return float(np.sum((a.mean - b.mean) ** 2)) + max(trace, 0.0)


UNEQUAL = 10
"""Times as many samples on one side as on the other from which on that alone is worth a warning."""


def frechet_bias(of: Moments, n: int, m: int, seed: int = 0) -> float:
    """The distance that samples of n and of m show although both come from one normal distribution, which has `of`'s
    covariance: of so few, the distance is that much too large. One draw of each, by Bartlett's decomposition.
    """
    values, vectors = np.linalg.eigh(of.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    rng = np.random.default_rng(seed)
    return frechet_distance(*(_drawn(root, count, rng) for count in (n, m)))


def frechet_warning(real: Moments, generated: Moments) -> str | None:
    """Why the distance of these tells little, or None: fewer samples than features, or badly unequal numbers."""
    n, m, features = real.count, generated.count, len(real.mean)
    if min(n, m) <= features:
        why = f"{min(n, m)} samples are no more than the {features} features, so a covariance has no full rank"
    elif max(n, m) > UNEQUAL * min(n, m):
        why = f"{n} real and {m} generated samples are badly unequal"
    else:
        return None
    more = real if n > m else generated
    return f"{why}; two samples of one distribution would be about {frechet_bias(more, n, m):.4g} apart"


def _drawn(root: Float64, count: int, rng: np.random.Generator) -> Moments:
    """Moments of `count` normal rows of mean 0 and covariance `root` @ `root`, without the rows where they are many."""
    c = len(root)
    mean = rng.standard_normal(c) @ root / np.sqrt(count)
    free = count - 1
    if free < c:
        rows = rng.standard_normal((free, c)) @ root
        return Moments(count, mean, rows.T @ rows)
    lower = np.tril(rng.standard_normal((c, c)), -1)
    np.fill_diagonal(lower, np.sqrt(rng.chisquare(free - np.arange(c))))
    half = root @ lower
    return Moments(count, mean, half @ half.T)


@dataclass(frozen=True)
class Overlap:
    """How far two sets of features cover each other (Kynkäänniemi et al. 2019; Naeem et al. 2020)."""

    precision: float
    """Share of generated samples that lie within a real sample's k-th neighbour."""
    recall: float
    """Share of real samples that lie within a generated sample's k-th neighbour."""
    coverage: float
    """Share of real samples that have a generated one within their own k-th neighbour."""
    k: int


def overlap(real: Features, generated: Features, k: int = 5) -> Overlap:
    """Precision, recall and coverage of (N, C) against (M, C); memory is one block of rows, not N x M.

    Raises:
        BadInput: either side has no more than k samples.
    """
    a, b = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    for name, rows in (("real", a), ("generated", b)):
        if len(rows) <= k:
            raise BadInput(f"{len(rows)} {name} samples: precision, recall and coverage need more than k={k}")
    a_radius, b_radius = _radius(a, k), _radius(b, k)
    precise, recalled, covered = np.zeros(len(b), bool), np.zeros(len(a), bool), np.zeros(len(a), bool)
    for part, distance in _distances(a, b):
        precise |= (distance <= a_radius[part, None]).any(axis=0)
        recalled[part] = (distance <= b_radius).any(axis=1)
        covered[part] = distance.min(axis=1) <= a_radius[part]
    return Overlap(float(precise.mean()), float(recalled.mean()), float(covered.mean()), k)


def _radius(rows: Float64, k: int) -> Float64:
    """Squared distance of each row to its k-th nearest other row."""
    return np.concatenate([np.partition(d, k, axis=1)[:, k] for _, d in _distances(rows, rows)])


def _distances(a: Float64, b: Float64, block: int = 512) -> Iterator[tuple[slice, Float64]]:
    """Squared Euclidean distances, a block of rows of `a` at a time."""
    norms = np.einsum("ij,ij->i", b, b)
    for start in range(0, len(a), block):
        part = a[start : start + block]
        squared = np.einsum("ij,ij->i", part, part)[:, None] + norms - 2 * part @ b.T
        yield slice(start, start + len(part)), np.clip(squared, 0, None)


def merge(parts: Iterable[Moments]) -> Moments:
    """Moments of all parts together; `BadInput` if there is none."""
    whole: Moments | None = None
    for part in parts:
        if whole is None:
            whole = Moments.zeros(len(part.mean))
        whole.add(part)
    if whole is None:
        raise BadInput("no statistics to merge; materialize the activations first")
    return whole

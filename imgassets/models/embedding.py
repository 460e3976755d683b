"""Features of thousands of dimensions on a plane: standardised, reduced by PCA, laid out by UMAP."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgassets.errors import BadInput
from imgassets.extras import extra

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class UmapSettings:
    """How the plane is laid out (McInnes et al. 2018); the defaults are the DMD2 visualizer's."""

    n_neighbors: int = 15
    min_dist: float = 0.1
    pca: int = 50
    """Dimensions kept before the layout: with more, UMAP runs out of memory on large sets."""
    seed: int = 42
    """A seed makes UMAP reproducible and keeps it on one core."""

    def __post_init__(self) -> None:
        if self.n_neighbors < 2 or self.pca < 2 or not 0 <= self.min_dist <= 1 or self.seed < 0:
            raise BadInput(f"{self}: n_neighbors and pca from 2, min_dist within 0..1 and a seed from 0 are needed")


def principal_components(rows: Float32, count: int) -> Float32:
    """(N, D) -> (N, min(count, N, D)): projections of the standardised columns on their main axes.

    A column without spread is left out of the scaling. The sign of an axis, which is arbitrary, is chosen so that its
    largest component is positive.
    """
    x = np.asarray(rows, np.float64)
    x = x - x.mean(axis=0)
    spread = x.std(axis=0)
    x /= np.where(spread > 0, spread, 1)
    _, axes = np.linalg.eigh(x.T @ x)
    axes = axes[:, ::-1][:, : min(count, *x.shape)]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    projected: Float32 = (x @ axes).astype(np.float32)
    return projected


def umap_plane(points: Float32, settings: UmapSettings) -> Float32:
    """(N, D) -> (N, 2), the same for the same points and seed.

    Raises:
        BadInput: there are too few points for the neighbours asked for.
    """
    if len(points) <= settings.n_neighbors:
        raise BadInput(
            f"{len(points)} samples: UMAP needs more than n_neighbors={settings.n_neighbors}; take more samples"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's and scikit-learn's deprecations are not ours to mend
        umap = extra("umap")
        layout = umap.UMAP(
            n_neighbors=settings.n_neighbors,
            min_dist=settings.min_dist,
            n_components=2,
            metric="euclidean",
            random_state=settings.seed,
            n_jobs=1,
        ).fit_transform(points)
    return np.asarray(layout, np.float32)

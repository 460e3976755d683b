import numpy as np
import pytest

from imgassets.errors import BadInput
from imgassets.models.embedding import UmapSettings, principal_components, umap_plane

RNG = np.random.default_rng(5)


def test_principal_components_are_those_of_the_standardised_columns() -> None:
    rows = (RNG.normal(size=(60, 8)) @ RNG.normal(size=(8, 8))).astype(np.float32)
    rows[:, 3] = 7  # a column without spread
    got = principal_components(rows, 3)
    x = rows.astype(np.float64) - rows.mean(0)
    x /= np.where(x.std(0) > 0, x.std(0), 1)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(np.abs(got), np.abs(u[:, :3] * s[:3]), rtol=1e-3, atol=1e-3)
    assert principal_components(rows[:4], 50).shape == (4, 4)
    np.testing.assert_array_equal(got, principal_components(rows, 3))


@pytest.mark.slow
def test_umap_separates_clusters_and_repeats_itself() -> None:
    points = np.concatenate([RNG.normal(0, 1, (60, 10)), RNG.normal(20, 1, (60, 10))]).astype(np.float32)
    plane = umap_plane(points, UmapSettings())
    np.testing.assert_array_equal(plane, umap_plane(points, UmapSettings()))
    a, b = plane[:60], plane[60:]
    gap = np.linalg.norm(a.mean(0) - b.mean(0))
    assert gap > 2 * max(a.std(0).max(), b.std(0).max())


def test_too_few_points_and_settings_of_no_meaning() -> None:
    with pytest.raises(BadInput, match="15 samples: UMAP needs more than n_neighbors=15"):
        umap_plane(np.zeros((15, 4), np.float32), UmapSettings())
    with pytest.raises(BadInput, match="n_neighbors"):
        UmapSettings(n_neighbors=1)

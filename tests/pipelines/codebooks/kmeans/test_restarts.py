"""Clusters that stand apart, and vectors that cannot be clustered."""

import numpy as np
import pytest

from dvse.errors import TrainingError
from pipelines.codebooks.kmeans import Reservoir
from pipelines.codebooks.kmeans.restarts import fit_codebook


def test_vectors_that_cannot_be_clustered() -> None:
    with pytest.raises(TrainingError, match="received NaN or infinity"):
        fit_codebook(np.full((9, 2), np.nan, np.float32), 2)
    with pytest.raises(TrainingError, match="at least one code"):
        fit_codebook(np.ones((9, 2), np.float32), 0)
    with pytest.raises(TrainingError, match="received none"):
        _ = Reservoir(capacity=4, seed=0).vectors


def test_clusters_that_stand_apart_are_found() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    vectors = np.repeat(centres, 40, axis=0) + rng.normal(0, 0.1, (120, 2)).astype(np.float32)
    found = fit_codebook(vectors, 3).centroids[0].numpy()
    distances = np.linalg.norm(found[:, None] - centres[None], axis=-1)
    assert sorted(distances.argmin(1)) == [0, 1, 2]
    assert distances.min(1).max() < 0.1

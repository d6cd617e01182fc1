"""Centroids go beyond their means: by hand, never uphill, sooner there, at them in the end."""

import numpy as np
import pytest
import torch

from pipelines.codebooks.kmeans import ArrayFeatures, KMeansSettings
from pipelines.codebooks.kmeans import lloyd as module
from pipelines.codebooks.kmeans.lloyd import TorchLloyd


def blobs(num_rows=3000, dim=12, num_states=120):
    rng = np.random.default_rng(3)
    states = rng.standard_normal((num_states, dim))
    rows = states[rng.integers(num_states, size=num_rows)] + 0.4 * rng.standard_normal(
        (num_rows, dim)
    )
    return rows.astype(np.float32)


def fitted(rows, num_passes, seed=0, num_codes=40, **options):
    settings = KMeansSettings(num_codes=num_codes, num_passes=num_passes, tolerance=0, seed=seed)
    return TorchLloyd(warm_up=(), **options).fit(ArrayFeatures(rows), settings)


def squared_distances(rows, centroids):
    return np.square(rows[:, None].astype(np.float64) - centroids.numpy()[None]).sum(-1)


def test_one_centroid_by_hand():
    # From a row, 0 or 2, whose mean is 1: first 1.8 (or 0.2), then the mean itself.
    fit = fitted(np.array([[0.0], [2.0]], np.float32), num_passes=3, num_codes=1)
    assert fit.history == pytest.approx([2.0, (1.8**2 + 0.2**2) / 2, (1.64**2 + 0.36**2) / 2])
    assert fit.centroids.tolist() == [[1.0]]


def test_the_inertia_never_rises():
    history = fitted(blobs(), num_passes=25).history
    assert len(history) == 25 and all(np.diff(history) <= 1e-6)


def test_it_ends_at_the_means_of_what_is_nearest():
    rows = blobs()
    centroids = fitted(rows, num_passes=60).centroids  # by then no row changes its code
    nearest = squared_distances(rows, centroids).argmin(1)
    means = np.stack([rows[nearest == code].mean(0) for code in range(40)])
    np.testing.assert_allclose(centroids.numpy(), means, atol=1e-5)


def test_fewer_passes_do(monkeypatch):
    rows, falls = blobs(), []
    for seed in range(5):
        relaxed = fitted(rows, num_passes=4, seed=seed).centroids
        with monkeypatch.context() as patch:
            patch.setattr(module, "OVER_RELAXATION", 1.0)
            plain = fitted(rows, num_passes=4, seed=seed).centroids
        inertias = [squared_distances(rows, c).min(1).sum() for c in (plain, relaxed)]
        falls.append(inertias[1] / inertias[0])
    assert np.mean(falls) < 0.999


def test_a_cluster_that_was_split_is_not_pushed_on():
    # Three codes, two kinds of rows and one in between: whatever runs empty comes back beside
    # another, not 1.8 times as far away.
    rows = np.concatenate([np.zeros((50, 2)), np.ones((50, 2)), [[9.0, 9.0]]]).astype(np.float32)
    fit = fitted(rows, num_passes=8, num_codes=3)
    assert torch.isfinite(fit.centroids).all()
    assert squared_distances(rows, fit.centroids).min(1).max() < 1e-6

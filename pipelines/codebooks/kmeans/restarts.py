"""Fits a codebook to the frames of recordings: a bounded uniform sample, then k-means."""

import numpy as np
import torch

from dvse.codebook import Codebook
from dvse.errors import TrainingError


def fit_codebook(
    vectors: np.ndarray, num_codes: int, *, seed: int = 0, restarts: int = 2
) -> Codebook:
    """Fit k-means (scikit-learn, k-means++, Lloyd) and return its centroids as a codebook.

    Args:
        vectors: float32 `[n, dim]`.
        restarts: runs from other centroids, of which the one with the least inertia is kept.

    Raises:
        TrainingError: fewer different vectors than codes, or values that are not finite.
    """
    from sklearn.cluster import KMeans

    if num_codes < 1:
        raise TrainingError(f"expected at least one code, received {num_codes}")
    if not np.isfinite(vectors).all():
        raise TrainingError("expected finite features, received NaN or infinity; check the encoder")
    num_different = len(np.unique(vectors, axis=0))
    if num_different < num_codes:
        raise TrainingError(
            f"expected at least {num_codes} different frames for {num_codes} codes, received "
            f"{num_different} among {len(vectors)}; give more recordings or ask for fewer codes"
        )
    fitted = KMeans(num_codes, n_init=restarts, random_state=seed, max_iter=100).fit(vectors)
    return Codebook(torch.from_numpy(fitted.cluster_centers_.astype(np.float32))[None])

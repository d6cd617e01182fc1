"""K-means by scikit-learn's `MiniBatchKMeans`: the reference, in little memory.

Sculley 2010, "Web-scale k-means clustering". Each pass reads every row once, in batches that are
each a sample of all rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvse.errors import TrainingError
from pipelines.codebooks.kmeans.features import Features
from pipelines.codebooks.kmeans.initialization import (
    SAMPLE_ROWS_A_CODE,
    sample_of,
    share_of_equal_rows,
)
from pipelines.codebooks.kmeans.pass_fitter import Pass, PassFitter, State
from pipelines.codebooks.kmeans.sampling import stratified_rows
from pipelines.codebooks.settings import KMeansSettings

BATCH_ROWS = 10_000


class MiniBatch(PassFitter):
    """`MiniBatchKMeans.partial_fit` over batches of `BATCH_ROWS`, or of one row a code."""

    name = "minibatch"

    def __init__(self) -> None:
        self.identity: Mapping[str, Any] = {"mode": self.name, "batch_rows": BATCH_ROWS}

    def memory_bytes(self, features: Features, settings: KMeansSettings) -> int:
        """Return the bytes for the sample, two copies of a batch, and its distances."""
        rows = min(max(BATCH_ROWS, settings.num_codes), features.num_rows)
        sample = min(features.num_rows, SAMPLE_ROWS_A_CODE * settings.num_codes)
        row = 4 * features.dim
        return 3 * max(sample, rows) * row + settings.num_codes * row * 6 + 64_000_000

    def begun(self, centroids: Tensor) -> State:
        """Return the centroids, which no row has moved yet."""
        return {"centroids": centroids, "counts": torch.zeros(len(centroids))}

    def passes(self, features: Features, settings: KMeansSettings) -> Callable[[State, int], Pass]:
        """Return what makes a pass in batches, each a sample of all features."""
        rows = max(BATCH_ROWS, settings.num_codes)
        num_batches = max(1, features.num_rows // rows)
        # Where one row is most of the data, clusters of others are small and right to be so:
        # scikit-learn would give their centroids back to that row.
        is_uneven = share_of_equal_rows(sample_of(features, settings)) > 0.5

        def make_pass(state: State, number: int) -> Pass:
            seed = settings.seed + number
            estimator = _estimator(state, seed)
            if is_uneven:
                estimator.reassignment_ratio = 0.0
            inertia, seen = 0.0, 0
            for turn in range(num_batches):
                chosen = stratified_rows(
                    0, features.num_rows, group=num_batches, seed=seed, turn=turn
                )
                batch = features.take(chosen).cpu().numpy()
                if not np.isfinite(batch).all():
                    raise TrainingError(
                        "expected finite features, received NaN or infinity; check the encoder "
                        "and its input"
                    )
                estimator.partial_fit(batch)
                inertia, seen = inertia + float(estimator.inertia_), seen + len(batch)
            return Pass(
                state={
                    "centroids": torch.from_numpy(estimator.cluster_centers_.copy()),
                    "counts": torch.from_numpy(estimator._counts.copy()),
                },
                mean_squared_distance=inertia / seen,
            )

        return make_pass


def _estimator(state: State, seed: int) -> Any:
    """Return an estimator that goes on from a state (scikit-learn itself can only pickle one)."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    centroids = state["centroids"].numpy().copy()
    estimator = MiniBatchKMeans(len(centroids), batch_size=BATCH_ROWS, compute_labels=True)
    vars(estimator).update(
        cluster_centers_=centroids,
        n_features_in_=centroids.shape[1],
        n_steps_=0,
        _counts=state["counts"].numpy().copy(),
        _n_since_last_reassign=0,
        _n_threads=_openmp_effective_n_threads(),
        _batch_size=BATCH_ROWS,
        _random_state=np.random.RandomState(seed),
    )
    return estimator

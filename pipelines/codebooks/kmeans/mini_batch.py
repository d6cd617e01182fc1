"""K-means by scikit-learn's `MiniBatchKMeans`: the reference, in little memory.

Sculley 2010, "Web-scale k-means clustering". Each pass reads every row once, in batches that are
each a sample of all rows.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvse.errors import TrainingError
from pipelines.codebooks.kmeans.features import Features
from pipelines.codebooks.kmeans.fitter import KMeansFit, KMeansFitter
from pipelines.codebooks.kmeans.initialization import SAMPLE_ROWS_A_CODE, first_centroids, sample_of
from pipelines.codebooks.kmeans.sampling import stratified_rows
from pipelines.codebooks.settings import KMeansSettings
from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint

BATCH_ROWS = 10_000

logger = logging.getLogger(__name__)


class MiniBatch(KMeansFitter):
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

    def fit(
        self, features: Features, settings: KMeansSettings, *, checkpoint: Path | None = None
    ) -> KMeansFit:
        """Fit centroids to batches, each a sample of all features."""
        identity = {
            **self.identity,
            **settings.to_dict(),
            "rows": features.num_rows,
            "features": features.fingerprint(),
        }
        state = load_checkpoint(checkpoint, identity) if checkpoint is not None else None
        if state is None:
            first = first_centroids(
                sample_of(features, settings), settings, total=features.num_rows
            )
            state = {"centroids": first, "counts": torch.zeros(settings.num_codes), "history": []}
            state["is_settled"] = False
        while len(state["history"]) < settings.num_passes and not state["is_settled"]:
            state = self._pass(features, settings, state)
            if checkpoint is not None:
                save_checkpoint(checkpoint, identity, state)
        return KMeansFit(
            centroids=state["centroids"],
            num_passes=len(state["history"]),
            num_reseeded=0,
            history=tuple(state["history"]),
        )

    def _pass(
        self, features: Features, settings: KMeansSettings, state: dict[str, Any]
    ) -> dict[str, Any]:
        number = len(state["history"])
        estimator = _estimator(state, settings.seed + number)
        rows = max(BATCH_ROWS, settings.num_codes)
        num_batches = max(1, features.num_rows // rows)
        inertia, seen = 0.0, 0
        for turn in range(num_batches):
            chosen = stratified_rows(
                0, features.num_rows, group=num_batches, seed=settings.seed + number, turn=turn
            )
            batch = features.take(chosen).cpu().numpy()
            if not np.isfinite(batch).all():
                raise TrainingError(
                    "expected finite features, received NaN or infinity; check the encoder and "
                    "its input"
                )
            estimator.partial_fit(batch)
            inertia, seen = inertia + float(estimator.inertia_), seen + len(batch)
        history = [*state["history"], inertia / seen]
        logger.info("pass %d: mean squared distance %.6g", number + 1, history[-1])
        return {
            "centroids": torch.from_numpy(estimator.cluster_centers_.copy()),
            "counts": torch.from_numpy(estimator._counts.copy()),
            "history": history,
            "is_settled": number > 0
            and history[-2] - history[-1] <= settings.tolerance * history[-2],
        }


def _estimator(state: Mapping[str, Any], seed: int) -> Any:
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

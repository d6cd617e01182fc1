"""K-means by faiss: Lloyd's algorithm over an array in memory."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvse.errors import MissingExtraError, TrainingError
from pipelines.codebooks.kmeans.features import ArrayFeatures, Features
from pipelines.codebooks.kmeans.fitter import KMeansFit, KMeansFitter
from pipelines.codebooks.kmeans.initialization import SAMPLE_ROWS_A_CODE, first_centroids, sample_of
from pipelines.codebooks.settings import KMeansSettings
from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)


class FaissLloyd(KMeansFitter):
    """`faiss.Kmeans` on the CPU, a pass at a time.

    Raises:
        MissingExtraError: faiss is not installed.
    """

    name = "faiss"

    def __init__(self) -> None:
        try:
            import faiss
        except ImportError as error:
            raise MissingExtraError.for_extra("faiss", "faiss") from error
        self._faiss = faiss
        self.identity: Mapping[str, Any] = {"mode": self.name}

    def memory_bytes(self, features: Features, settings: KMeansSettings) -> int:
        """Return the bytes for all features (unless they are held already) and the centroids."""
        row = 4 * features.dim
        held = 0 if isinstance(features, ArrayFeatures) else features.num_rows * row
        sample = min(features.num_rows, SAMPLE_ROWS_A_CODE * settings.num_codes)
        return held + 3 * sample * row + settings.num_codes * row * 4 + 64_000_000

    def fit(
        self, features: Features, settings: KMeansSettings, *, checkpoint: Path | None = None
    ) -> KMeansFit:
        """Fit centroids to features held in memory."""
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
            state = {"centroids": first, "history": [], "is_settled": False}
        array = features.read(0, features.num_rows).cpu().numpy()
        if not np.isfinite(array.sum(dtype=np.float64)):
            raise TrainingError(
                "expected finite features, received NaN or infinity; check the encoder and its "
                "input"
            )
        while len(state["history"]) < settings.num_passes and not state["is_settled"]:
            state = self._pass(array, settings, state)
            if checkpoint is not None:
                save_checkpoint(checkpoint, identity, state)
        return KMeansFit(
            centroids=state["centroids"],
            num_passes=len(state["history"]),
            num_reseeded=0,
            history=tuple(state["history"]),
        )

    def _pass(
        self, array: np.ndarray, settings: KMeansSettings, state: dict[str, Any]
    ) -> dict[str, Any]:
        kmeans = self._faiss.Kmeans(
            array.shape[1],
            settings.num_codes,
            niter=1,
            seed=settings.seed + 1,
            min_points_per_centroid=1,
            max_points_per_centroid=len(array),
        )
        inertia = kmeans.train(array, init_centroids=state["centroids"].numpy())
        history = [*state["history"], float(inertia) / len(array)]
        logger.info("pass %d: mean squared distance %.6g", len(history), history[-1])
        return {
            "centroids": torch.from_numpy(np.array(kmeans.centroids)),
            "history": history,
            "is_settled": len(history) > 1
            and history[-2] - history[-1] <= settings.tolerance * history[-2],
        }

"""K-means by faiss: Lloyd's algorithm over an array in memory."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvse.errors import MissingExtraError, TrainingError
from pipelines.codebooks.kmeans.features import ArrayFeatures, Features
from pipelines.codebooks.kmeans.initialization import SAMPLE_ROWS_A_CODE
from pipelines.codebooks.kmeans.pass_fitter import Pass, PassFitter, State
from pipelines.codebooks.settings import KMeansSettings


class FaissLloyd(PassFitter):
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

    def begun(self, centroids: Tensor) -> State:
        """Return the centroids."""
        return {"centroids": centroids}

    def passes(self, features: Features, settings: KMeansSettings) -> Callable[[State, int], Pass]:
        """Return what makes a pass over all features, read into memory once."""
        array = features.read(0, features.num_rows).cpu().numpy()
        if not np.isfinite(array.sum(dtype=np.float64)):
            raise TrainingError(
                "expected finite features, received NaN or infinity; check the encoder and its "
                "input"
            )

        def make_pass(state: State, number: int) -> Pass:
            kmeans = self._faiss.Kmeans(
                array.shape[1],
                settings.num_codes,
                niter=1,
                seed=settings.seed + 1,
                min_points_per_centroid=1,
                max_points_per_centroid=len(array),
            )
            inertia = kmeans.train(array, init_centroids=state["centroids"].numpy())
            return Pass(
                state={"centroids": torch.from_numpy(np.array(kmeans.centroids))},
                mean_squared_distance=float(inertia) / len(array),
            )

        return make_pass

"""The loop that two modes share: like passes over all features, each kept in a checkpoint."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pipelines.codebooks.kmeans.features import Features
from pipelines.codebooks.kmeans.fitter import KMeansFit, KMeansFitter
from pipelines.codebooks.kmeans.initialization import (
    first_centroids,
    sample_of,
    with_all_different,
)
from pipelines.codebooks.settings import KMeansSettings
from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

State = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one pass came to.

    Attributes:
        state: centroids, and what else the next pass needs.
        mean_squared_distance: of the rows it read.
    """

    state: State
    mean_squared_distance: float


class PassFitter(KMeansFitter):
    """Passes until the distance stands still; a killed run goes on after its last pass."""

    @abstractmethod
    def begun(self, centroids: Tensor) -> State:
        """Return the state before the first pass."""

    @abstractmethod
    def passes(self, features: Features, settings: KMeansSettings) -> Callable[[State, int], Pass]:
        """Return what makes a pass of a state and the pass's number.

        Raises:
            TrainingError: rows that are not finite.
        """

    def fit(
        self, features: Features, settings: KMeansSettings, *, checkpoint: Path | None = None
    ) -> KMeansFit:
        """Fit centroids, a pass at a time."""
        identity = {
            **self.identity,
            **settings.to_dict(),
            "rows": features.num_rows,
            "features": features.fingerprint(),
        }
        saved = load_checkpoint(checkpoint, identity) if checkpoint is not None else None
        if saved is None:
            sample = with_all_different(sample_of(features, settings), features, settings)
            first = first_centroids(sample, settings, total=features.num_rows)
            saved = {**self.begun(first), "history": [], "is_settled": False}
        make_pass = self.passes(features, settings)
        while len(history := saved["history"]) < settings.num_passes and not saved["is_settled"]:
            made = make_pass(saved, len(history))
            now = made.mean_squared_distance
            logger.info("pass %d: mean squared distance %.6g", len(history) + 1, now)
            is_settled = bool(history) and history[-1] - now <= settings.tolerance * history[-1]
            saved = {**made.state, "history": [*history, now], "is_settled": is_settled}
            if checkpoint is not None:
                save_checkpoint(checkpoint, identity, saved)
        return KMeansFit(
            centroids=saved["centroids"],
            num_passes=len(saved["history"]),
            num_reseeded=0,
            history=tuple(saved["history"]),
        )

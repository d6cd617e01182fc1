"""The contract of a way of fitting k-means: settings in, centroids out, at a stated cost."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.codebooks.kmeans.features import Features
from pipelines.codebooks.settings import KMeansSettings


@dataclass(frozen=True, kw_only=True)
class KMeansFit:
    """A fitted level.

    Attributes:
        centroids: `fp32 [num_codes, dim]` on the CPU.
        num_passes: passes over all features.
        num_reseeded: how often an empty cluster was given a new centroid.
        history: mean squared distance of the rows read, before each update of the centroids.
    """

    centroids: Tensor
    num_passes: int
    num_reseeded: int
    history: tuple[float, ...]


class KMeansFitter(ABC):
    """Fits one level.

    Attributes:
        name: what a user types.
        device: where it computes.
        identity: settings of its own that a checkpoint must agree with.
    """

    name: str
    device: torch.device = torch.device("cpu")
    identity: Mapping[str, Any]

    @abstractmethod
    def memory_bytes(self, features: Features, settings: KMeansSettings) -> int:
        """Return the bytes of memory that fitting adds to what is held already."""

    @abstractmethod
    def fit(
        self, features: Features, settings: KMeansSettings, *, checkpoint: Path | None = None
    ) -> KMeansFit:
        """Fit `settings.num_codes` centroids.

        Args:
            features: this process's rows.
            settings: see `KMeansSettings`; `num_levels` is not looked at.
            checkpoint: file that progress is written to and resumed from.

        Raises:
            TrainingError: fewer different rows than codes, rows that are not finite, a checkpoint
                of other features or settings, or a full disk.
            MissingExtraError: the library is not installed.
        """

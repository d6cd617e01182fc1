"""The contract of a way of fitting k-means: settings in, centroids out, at a stated cost."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dvse.errors import ConfigError
from pipelines.codebooks.kmeans.features import Features

Initialization = Literal["kmeans++", "reservoir"]


@dataclass(frozen=True, kw_only=True)
class KMeansSettings:
    """What every way of fitting understands.

    Attributes:
        num_codes: centroids of a level.
        num_levels: residual levels.
        num_passes: most passes over all features, for each level.
        tolerance: stop once a pass lowers the inertia by less than this share.
        initialization: `kmeans++`, or `reservoir` for rows drawn uniformly.
        seed: the same seed, features and threads give the same centroids.

    Raises:
        ConfigError: a setting outside its range.
    """

    num_codes: int
    num_levels: int = 1
    num_passes: int = 6
    tolerance: float = 1e-3
    initialization: Initialization = "kmeans++"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_codes", "num_levels", "num_passes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"expected {name} of at least 1, received {getattr(self, name)}")
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"expected a tolerance in 0 … 1, received {self.tolerance}")
        if self.initialization not in ("kmeans++", "reservoir"):
            raise ConfigError(
                f"expected initialization 'kmeans++' or 'reservoir', received "
                f"{self.initialization!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


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

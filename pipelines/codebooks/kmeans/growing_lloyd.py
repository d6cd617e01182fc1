"""Lloyd's algorithm around centroids that stay: a bigger codebook that begins with the old one.

New centroids begin where the old ones explain least (k-means++ with the old ones already drawn:
Arthur & Vassilvitskii 2007, 2.2) and move as in Lloyd's algorithm; rows go to whichever is nearest,
old or new. An empty old cluster stays as it is.
"""

import hashlib
from typing import Any

import torch
from torch import Tensor

from dvse.errors import ConfigError
from pipelines.codebooks.kmeans.fitter import KMeansFitter
from pipelines.codebooks.kmeans.initialization import check_sample, kmeans_plus_plus
from pipelines.codebooks.kmeans.lloyd import TorchLloyd
from pipelines.codebooks.settings import KMeansSettings


class GrowingLloyd(TorchLloyd):
    """`TorchLloyd` whose first centroids are given and never move.

    Args:
        kept: `fp32 [K0, dim]`, in the space of the features.
        **options: of `TorchLloyd`.

    >>> from pipelines.codebooks.kmeans.features import ArrayFeatures
    >>> rows = torch.tensor([[0.0], [0.0], [9.0], [9.0]]).numpy()
    >>> grown = GrowingLloyd(torch.tensor([[1.0]]))
    >>> grown.fit(ArrayFeatures(rows), KMeansSettings(num_codes=2)).centroids.flatten().tolist()
    [1.0, 9.0]
    """

    def __init__(self, kept: Tensor, **options: Any) -> None:
        super().__init__(**options)
        self._kept = kept.float().to(self.device)
        digest = hashlib.sha256(kept.float().cpu().contiguous().numpy().tobytes()).hexdigest()
        self.identity = {**self.identity, "kept": digest}

    def begin_with(self, sample: Tensor, settings: KMeansSettings, *, total: int) -> Tensor:
        """Return the old centroids and, behind them, new ones out of a sample of rows.

        Raises:
            ConfigError: no room for a new one, or another initialization.
            TrainingError: fewer different rows than new codes.
        """
        if settings.initialization != "kmeans++":
            raise ConfigError("kept centroids need the initialization kmeans++")
        num_new = settings.num_codes - len(self._kept)
        if num_new < 1:
            raise ConfigError(
                f"expected more codes than the {len(self._kept)} that are kept, received "
                f"{settings.num_codes}"
            )
        check_sample(sample, num_new, total=total)
        new = kmeans_plus_plus(sample, num_new, seed=settings.seed, drawn=self._kept)
        return torch.cat([self._kept, new])

    def claimed(self, counts: Tensor) -> Tensor:
        """Return the rows of each cluster; an old one is never taken for empty."""
        counts = counts.clone()
        counts[: len(self._kept)].clamp_(min=1)
        return counts

    def settle(self, centroids: Tensor) -> Tensor:
        """Return the centroids after a pass with the old ones back in their place."""
        centroids[: len(self._kept)] = self._kept
        return centroids


def growing(fitter: KMeansFitter, kept: Tensor) -> GrowingLloyd:
    """Return the fitter that does the same around centroids that stay.

    Raises:
        ConfigError: another mode than Lloyd's.
    """
    if not isinstance(fitter, TorchLloyd):
        raise ConfigError(f"mode {fitter.name!r} cannot keep centroids; use mode 'lloyd'")
    return GrowingLloyd(
        kept, device=str(fitter.device), product=fitter.product, warm_up=fitter.warm_up
    )

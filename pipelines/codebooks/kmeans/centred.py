"""Features around zero: what all rows share is taken off before anything is multiplied.

Distances are computed from products, and far from zero products are large and alike: of features
shifted by 10,000, fp32 leaves a distance of 1 no correct digit. K-means does not care where zero
is.
"""

import numpy as np
import torch
from torch import Tensor

from pipelines.codebooks.kmeans.features import Features


def offset_of(rows: Tensor) -> Tensor:
    """Return what rows `[n, dim]` share, `fp32 [dim]`, so round that taking it off is exact.

    It is the mean, rounded to a multiple of a power of two that is far above the last digit of any
    row, so that `row - offset` loses nothing that the row had. Zero where the rows lie around zero
    already (within eight standard deviations): their numbers stay as they are.

    >>> offset_of(torch.tensor([[10000.0, 1.0], [10002.0, -1.0]])).tolist()
    [10000.0, 0.0]
    """
    wide = rows.double()
    mean, spread = wide.mean(0), wide.std(0, correction=0)
    is_far = mean.abs() > 8 * spread
    step = torch.exp2(torch.floor(torch.log2(spread.clamp(min=2.0**-20) + mean.abs() * 2.0**-12)))
    offset = torch.where(is_far, torch.round(mean / step) * step, torch.zeros_like(mean))
    return torch.where(torch.isfinite(offset), offset, torch.zeros_like(offset)).float()


class CentredFeatures(Features):
    """Other features with an offset `[dim]` taken off."""

    def __init__(self, features: Features, offset: Tensor) -> None:
        self._features, self._offset = features, offset
        self.num_rows, self.dim = features.num_rows, features.dim

    def read(self, start: int, stop: int) -> Tensor:
        """Read rows and take the offset off."""
        return self._centred(self._features.read(start, stop))

    def take(self, rows: np.ndarray) -> Tensor:
        """Gather rows and take the offset off."""
        return self._centred(self._features.take(rows))

    def _centred(self, rows: Tensor) -> Tensor:
        return rows - self._offset.to(rows.device)

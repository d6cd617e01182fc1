"""One pass of Lloyd's algorithm, a block of rows at a time: nearest codes and sums by code.

    code(x) = argmax_k  x·c_k' - m·c_k' - ‖c_k'‖²/2,   c_k' = c_k - m

for any m; with the mean of the centroids the products stay small where all features share a large
offset. Of each cluster only the count, the sum and the sum of squared lengths are kept: they give
the next centroids and the inertia, and they can be added up over blocks and over processes.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dvse.nearest import is_onednn_faster, onednn_linear

Product = Literal["float32", "bfloat16"]

# Scores of a block: small enough to stay in a processor's cache, large enough to fill a GPU.
_SCORES = {"cpu": 2**21, "cuda": 2**27}


class PartialSums:
    """Counts, sums and squared lengths of the rows nearest to each centroid.

    Sums of a block are made in fp32 in a fixed order, blocks are added in fp64.

    Args:
        centroids: `fp32 [K, dim]`, on the device to compute on.
        product: `bfloat16` makes the products of rows and centroids faster and less exact.

    Attributes:
        counts: `fp64 [K]`; sums: `fp64 [K, dim]`; energies: `fp64 [K]`.

    >>> sums = PartialSums(torch.tensor([[0.0], [9.0]]))
    >>> sums.add(torch.tensor([[1.0], [8.0], [10.0]])).tolist()
    [0, 1, 1]
    >>> sums.means().tolist(), float(sums.inertias().sum())
    ([[1.0], [9.0]], 2.0)
    """

    def __init__(self, centroids: Tensor, *, product: Product = "float32") -> None:
        num_codes, _ = centroids.shape
        self._centroids, self._product = centroids, product
        mean = centroids.mean(0)
        self._factor = (centroids - mean).t().contiguous()
        self._bias = -0.5 * self._factor.square().sum(0) - mean @ self._factor
        self._weight: Tensor | None = None  # for oneDNN, which wants a row a centroid
        if product == "bfloat16":
            self._factor = self._factor.bfloat16()
        elif is_onednn_faster(centroids):
            self._weight = self._factor.t().contiguous()
        self.block_rows = max(256, _SCORES[centroids.device.type] // num_codes)
        self._scores = centroids.new_empty(self.block_rows, num_codes)
        self.counts = centroids.new_zeros(num_codes, dtype=torch.float64)
        self.energies = torch.zeros_like(self.counts)
        self.sums = torch.zeros_like(centroids, dtype=torch.float64)

    def add(self, rows: Tensor) -> Tensor:
        """Take in rows `fp32 [n, dim]`, n at most `block_rows`; return their codes `int64 [n]`."""
        codes = self.nearest(rows)
        order = torch.argsort(codes, stable=True)
        counts = torch.bincount(codes, minlength=len(self.counts))
        starts = counts.cumsum(0) - counts
        self.sums += torch.nn.functional.embedding_bag(order, rows, starts, mode="sum")
        self.counts += counts
        lengths = torch.linalg.vecdot(rows, rows).double()
        self.energies += torch.zeros_like(self.energies).index_put_((codes,), lengths, True)
        return codes

    def nearest(self, rows: Tensor) -> Tensor:
        """Return the nearest centroid of each row, `int64 [n]`; ties go to the lower code."""
        scores = self._scores[: len(rows)]
        if self._weight is not None:
            scores = onednn_linear(rows, self._weight, self._bias)
        elif self._product == "float32":
            torch.addmm(self._bias, rows, self._factor, out=scores)
        elif rows.is_cuda:
            product = torch.mm(rows.bfloat16(), self._factor, out_dtype=torch.float32)
            torch.add(product, self._bias, out=scores)
        else:
            torch.add(rows.bfloat16() @ self._factor, self._bias, out=scores)
        if scores.is_cuda:
            return scores.argmax(1)
        return torch.from_numpy(np.argmax(scores.numpy(), axis=1))  # many times torch's speed

    def state(self) -> Tensor:
        """Return all sums as one tensor `fp64 [K, dim + 2]`, to be added up over processes."""
        return torch.cat([self.sums, self.counts[:, None], self.energies[:, None]], dim=1)

    def set_state(self, state: Tensor) -> None:
        """Replace the sums by what `state` of all processes adds up to."""
        self.sums, self.counts, self.energies = state[:, :-2], state[:, -2], state[:, -1]

    def means(self) -> Tensor:
        """Return the next centroids `fp32 [K, dim]`; an empty cluster keeps its old one."""
        means = (self.sums / self.counts.clamp(min=1)[:, None]).float()
        return torch.where(self.counts[:, None] > 0, means, self._centroids)

    def inertias(self) -> Tensor:
        """Return the summed squared distances from the *next* centroids, `fp64 [K]`."""
        within = self.energies - self.sums.square().sum(1) / self.counts.clamp(min=1)
        return within.clamp(min=0)

    def inertia(self) -> float:
        """Return the summed squared distances from the centroids that were used; NaN stays NaN."""
        used = self._centroids.double()
        between = (self.counts * used.square().sum(1)).sum() - 2 * (used * self.sums).sum()
        return float((self.energies.sum() + between).clamp(min=0))

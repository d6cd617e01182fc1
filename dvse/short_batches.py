"""Fewer rows than a full batch has, where they are seen to have the bits of a full one.

A batch of fixed rows is filled up, so that neighbours never decide a bit; one picture alone pays
for all of them. Many kernels give a row the same bits in a batch of two as in one of sixteen. Which
do is not promised by anybody, so it is looked at: the same random batch is computed whole and in
part, and where a single bit differs the whole is taken as ever. That costs two full batches, so it
is not done for the first short batches of a shape: a process that encodes one picture never asks.
"""

from collections import Counter
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from dvse.fixed_batches import Shape

_PATIENCE = 2


class ShortBatches:
    """How many rows a batch needs that is not full.

    Args:
        compute: a batch `[rows, *shape]` to its features `[rows, …]`.
        draw: a random batch of a shape, on the device that computes.
    """

    def __init__(
        self, compute: Callable[[Tensor], Tensor], draw: Callable[[Shape], Tensor]
    ) -> None:
        self._compute, self._draw = compute, draw
        self._asked: Counter[Hashable] = Counter()
        self._found: dict[Hashable, int] = {}

    def rows(self, full_shape: Shape, num_needed: int, *, under: Hashable = None) -> int:
        """Return with how many rows, at least `num_needed`, a batch has the bits of a full one.

        Args:
            full_shape: `[rows, *shape]` of a full batch.
            num_needed: rows that hold something.
            under: whatever else may change bits; an answer holds for it alone.

        >>> short = ShortBatches(lambda batch: batch * 2, torch.ones)
        >>> [short.rows((16, 3), needed) for needed in (1, 1, 1, 9)]
        [16, 16, 1, 16]
        """
        full = full_shape[0]
        fewest = 1 << (num_needed - 1).bit_length()
        if fewest >= full:
            return full
        key = (full_shape, fewest, under)
        if key not in self._found:
            self._asked[key] += 1
            if self._asked[key] <= _PATIENCE:
                return full
            self._found[key] = self._fewest_equal(full_shape, fewest)
        return self._found[key]

    def _fewest_equal(self, full_shape: Shape, rows: int) -> int:
        batch = self._draw(full_shape)
        whole = self._compute(batch)
        while rows < full_shape[0]:
            if torch.equal(self._compute(batch[:rows].clone()), whole[:rows]):
                return rows
            rows *= 2
        return full_shape[0]


def filled(features: Tensor, num_rows: int) -> Tensor:
    """Return features with rows of zeros behind them, so that what follows sees a full batch.

    >>> filled(torch.ones(1, 2), 2).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    missing = num_rows - len(features)
    if not missing:
        return features
    return torch.cat([features, features.new_zeros(missing, *features.shape[1:])])

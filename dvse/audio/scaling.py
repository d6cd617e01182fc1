"""Scaling of a whole recording to mean 0 and variance 1, in bounded memory.

Published feature extractors with `do_normalize` do it (transformers; fairseq by `layer_norm` over
the file), before anything is cut. A recording is read twice for it: once for its mean and variance,
once for its samples. Sums run in fp64 over blocks of one fixed size, so they do not depend on how
much was read at a time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class RecordingScale:
    """What a recording is scaled by.

    Attributes:
        num_samples: that were looked at.
        mean: subtracted.
        deviation: divided by, the variance floor in it.

    >>> scale = RecordingScale.of([np.array([1, 3], np.float32)], variance_floor=1e-7)
    >>> [block.round(3).tolist() for block in scale.apply([np.array([3, 2], np.float32)])]
    [[1.0, 0.0]]
    """

    num_samples: int
    mean: float
    deviation: float

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray], *, variance_floor: float) -> "RecordingScale":
        """Return the scale of float32 blocks, with `variance_floor` added to their variance.

        Means and squares of blocks are joined pairwise (Chan, Golub and LeVeque 1979), which stays
        exact where the mean is far from zero.
        """
        count, mean, squares = 0, 0.0, 0.0
        for block in _of_one_size(blocks):
            values = block.astype(np.float64)
            own = float(values.mean())
            gap, total = own - mean, count + len(values)
            squares += float(np.square(values - own).sum())
            squares += gap * gap * count * len(values) / total
            mean += gap * len(values) / total
            count = total
        variance = squares / count if count else 1.0
        return cls(
            num_samples=count, mean=mean, deviation=float(np.sqrt(variance + variance_floor))
        )

    def apply(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the blocks scaled, float32."""
        for block in blocks:
            yield (block - np.float32(self.mean)) / np.float32(self.deviation)


def _of_one_size(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    pending: list[np.ndarray] = []
    num_pending = 0
    for block in blocks:
        pending.append(block)
        num_pending += len(block)
        while num_pending >= _BLOCK:
            joined = np.concatenate(pending)
            yield joined[:_BLOCK]
            pending, num_pending = [joined[_BLOCK:]], num_pending - _BLOCK
    if num_pending:
        yield np.concatenate(pending)

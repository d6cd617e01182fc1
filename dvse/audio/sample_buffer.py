"""Samples that are waiting to be cut into windows."""

import numpy as np


class SampleBuffer:
    """The samples from some place on; places count from the beginning of the recording.

    Attributes:
        stop: the place behind the last sample.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._start = self.stop = 0

    def append(self, block: np.ndarray) -> None:
        """Take the samples that follow."""
        self._blocks.append(block)
        self.stop += len(block)

    def read(self, start: int, count: int) -> np.ndarray:
        """Return `count` samples from a place on, as a copy."""
        joined = np.concatenate(self._blocks)
        self._blocks = [joined]
        return joined[start - self._start : start - self._start + count].copy()

    def drop_before(self, start: int) -> None:
        """Forget the samples before a place; call it after `read`."""
        (joined,) = self._blocks
        self._blocks = [joined[start - self._start :].copy()]
        self._start = start

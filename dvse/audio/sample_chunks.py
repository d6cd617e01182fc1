"""Cuts at fixed samples, without overlap, as published unit extractors make them.

fairseq's HuBERT reader and textlesslib give an encoder 1,600,000 samples (100 s) at a time, each
stretch for itself. At every cut the frames that would span it are lost, and the last stretch is as
short as what is left; one that is shorter than a frame gives none. A recording of at most one
stretch is encoded whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dvse.audio.windows import FixedStretches, FrameGrid, Window
from dvse.errors import ConfigError, TooShortError


@dataclass(frozen=True, kw_only=True)
class SampleChunks(FixedStretches):
    """The plan of stretches, part of a bundle: another plan gives other tokens.

    Attributes:
        chunk_samples: samples of a full stretch.

    >>> plan, grid = SampleChunks(chunk_samples=1000), FrameGrid(stride=100, reach=150)
    >>> [(len(w.samples), w.keep) for w in plan.cut([np.zeros(2300, np.float32)], grid)]
    [(1000, (0, 9)), (1000, (0, 9)), (300, (0, 2))]
    """

    def __post_init__(self) -> None:
        whole = isinstance(self.chunk_samples, int) and not isinstance(self.chunk_samples, bool)
        if not whole or self.chunk_samples < 1:
            raise ConfigError(
                f"expected chunk_samples of at least 1, received {self.chunk_samples!r}"
            )

    def cut(self, blocks: Iterable[np.ndarray], grid: FrameGrid) -> Iterator[Window]:
        """Yield the stretches of a stream of float32 blocks; holds about one.

        Raises:
            ConfigError: stretches that are shorter than a frame.
            TooShortError: less than one frame in all.
        """
        if self.chunk_samples < grid.reach:
            raise ConfigError(
                f"expected chunk_samples of at least {grid.reach}, one frame, received "
                f"{self.chunk_samples}"
            )
        pending: list[np.ndarray] = []
        num_pending = num_given = 0
        for block in blocks:
            pending.append(block)
            num_pending += len(block)
            while num_pending >= self.chunk_samples:
                joined = np.concatenate(pending)
                yield self._window(joined[: self.chunk_samples], grid)
                num_given += self.chunk_samples
                pending = [joined[self.chunk_samples :].copy()]
                num_pending = len(pending[0])
        rest = np.concatenate(pending) if pending else np.zeros(0, np.float32)
        if len(rest) >= grid.reach:
            yield self._window(rest, grid)
        elif not num_given:
            raise TooShortError(
                f"expected at least {grid.reach} samples, one frame, received {len(rest)}"
            )

    @staticmethod
    def _window(samples: np.ndarray, grid: FrameGrid) -> Window:
        return Window(samples=samples.copy(), keep=(0, grid.num_frames(len(samples))))

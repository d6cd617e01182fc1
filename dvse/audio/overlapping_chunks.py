"""Stretches that begin before the last one ends and keep all their frames: EnCodec of 48 kHz.

    |── chunk ──|
              |── chunk ──|          frames of both, one after the other
                        |── rest |

A stretch begins every `hop_samples`, as long as there are samples, so the last one may lie wholly
within the one before it. What is heard twice is coded twice; the way back fades one into the other.
The published code takes the last stretch as it is; transformers' feature extractor fills the
recording up with silence first, which may add a stretch of nothing but that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dvse.audio.sample_buffer import SampleBuffer
from dvse.audio.windows import FixedStretches, FrameGrid, Window
from dvse.errors import ConfigError, TooShortError


@dataclass(frozen=True, kw_only=True)
class OverlappingChunks(FixedStretches):
    """The plan of stretches, part of a bundle: another plan gives other tokens.

    Attributes:
        chunk_samples: samples of a full stretch.
        hop_samples: samples from the start of one to the next.
        fill_last: silence behind a recording, so that its last sample lies in a full stretch.

    >>> plan = OverlappingChunks(chunk_samples=100, hop_samples=90)
    >>> windows = plan.cut([np.zeros(200, np.float32)], FrameGrid(stride=10, reach=1))
    >>> [(len(window.samples), window.keep) for window in windows]
    [(100, (0, 10)), (100, (0, 10)), (20, (0, 2))]
    """

    hop_samples: int
    fill_last: bool = False

    def __post_init__(self) -> None:
        sizes = (self.chunk_samples, self.hop_samples)
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in sizes)
        if not whole or not 1 <= self.hop_samples <= self.chunk_samples:
            raise ConfigError(
                f"expected 1 <= hop_samples <= chunk_samples, received hop_samples "
                f"{self.hop_samples!r} and chunk_samples {self.chunk_samples!r}"
            )

    def cut(self, blocks: Iterable[np.ndarray], grid: FrameGrid) -> Iterator[Window]:
        """Yield the stretches of a stream of float32 blocks; holds about one and a block.

        Raises:
            TooShortError: less than one frame in all.
        """
        size, hop = self.chunk_samples, self.hop_samples
        buffer, start = SampleBuffer(), 0
        for block in blocks:
            buffer.append(block)
            while buffer.stop >= start + size:
                yield self._window(buffer.read(start, size), grid, hop)
                start += hop
                buffer.drop_before(start)
        num_samples = stop = buffer.stop
        if num_samples < grid.reach:
            raise TooShortError(
                f"expected at least {grid.reach} samples, one frame, received {num_samples}"
            )
        if self.fill_last:
            stop = (-(-num_samples // hop) - 1) * hop + size
            buffer.append(np.zeros((stop - num_samples, *block.shape[1:]), np.float32))
        while start < stop:
            samples = buffer.read(start, min(size, stop - start))
            if len(samples) >= grid.reach:
                yield self._window(samples, grid, max(0, min(hop, num_samples - start)))
            start += hop

    @staticmethod
    def _window(samples: np.ndarray, grid: FrameGrid, stands_for: int) -> Window:
        keep = (0, grid.num_frames(len(samples)))
        return Window(samples=samples, keep=keep, stands_for=stands_for)

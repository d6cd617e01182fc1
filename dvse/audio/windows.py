"""Fixed overlapping windows over a stream of samples, and which frame comes from which window.

A recording of at most one window is one window of its exact length. A longer one is cut into
windows of `window_frames` frames that begin every `hop_frames` frames; the last begins where it
ends with the last frame of the recording. Every window is full of samples: nothing is ever
padded. Where two windows overlap, each keeps the frames up to the middle of the overlap, so every
frame of the recording is kept exactly once and has context on both sides.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from dvse.audio.sample_buffer import SampleBuffer
from dvse.errors import ConfigError, TooShortError


@dataclass(frozen=True, kw_only=True)
class FrameGrid:
    """How an encoder's convolutions lay frames over samples.

    Attributes:
        stride: samples from one frame to the next.
        reach: samples that one frame sees.

    >>> grid = FrameGrid.of([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
    >>> grid.stride, grid.reach, grid.num_frames(16000)
    (320, 400, 49)
    """

    stride: int
    reach: int

    @classmethod
    def of(cls, kernels: Sequence[int], strides: Sequence[int]) -> "FrameGrid":
        """Return the grid of a stack of convolutions without padding."""
        reach = 1 + sum((kernel - 1) * prod(strides[:i]) for i, kernel in enumerate(kernels))
        return cls(stride=prod(strides), reach=reach)

    def num_frames(self, num_samples: int) -> int:
        """Return the number of frames over `num_samples`."""
        return max(0, (num_samples - self.reach) // self.stride + 1)

    def num_samples(self, num_frames: int) -> int:
        """Return the least number of samples that has `num_frames`."""
        return (num_frames - 1) * self.stride + self.reach


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of a recording that is encoded at once.

    Attributes:
        samples: float32 [n], or [n, channels].
        keep: the half-open range of its own frames that is kept.
        stands_for: samples of the recording that it accounts for, where these are not the kept
            frames times their stride.
    """

    samples: np.ndarray
    keep: tuple[int, int]
    stands_for: int | None = None


@dataclass(frozen=True, kw_only=True)
class FixedStretches:
    """What plans share that count the stretches of a recording in samples.

    Attributes:
        chunk_samples: samples of a full stretch.
    """

    chunk_samples: int

    def full_samples(self, grid: FrameGrid) -> int:
        """Return the samples of a full stretch."""
        return self.chunk_samples

    def full_frames(self, grid: FrameGrid) -> int:
        """Return the frames of a full stretch."""
        return grid.num_frames(self.chunk_samples)


@dataclass(frozen=True, kw_only=True)
class Windowing:
    """The plan of windows, part of a bundle: another plan gives other tokens.

    Attributes:
        window_frames: frames of a full window.
        hop_frames: frames from the start of one window to the next, at most `window_frames`.
    """

    window_frames: int
    hop_frames: int

    def __post_init__(self) -> None:
        if not 1 <= self.hop_frames <= self.window_frames:
            raise ConfigError(
                f"expected 1 <= hop_frames <= window_frames, received hop_frames "
                f"{self.hop_frames} and window_frames {self.window_frames}"
            )

    def full_samples(self, grid: FrameGrid) -> int:
        """Return the samples of a full window."""
        return grid.num_samples(self.window_frames)

    def full_frames(self, grid: FrameGrid) -> int:
        """Return the frames of a full window."""
        return self.window_frames

    def cut(self, blocks: Iterable[np.ndarray], grid: FrameGrid) -> Iterator[Window]:
        """Yield the windows of a stream of float32 blocks; holds about one window and a hop.

        Raises:
            TooShortError: less than one frame.
        """
        size, hop = grid.num_samples(self.window_frames), self.hop_frames * grid.stride
        buffer = SampleBuffer()
        kept = start = 0  # frames, of the whole recording
        for block in blocks:
            buffer.append(block)
            # A window is given out once the next full one is there, or the end is known.
            while buffer.stop >= start * grid.stride + hop + size:
                following = start + self.hop_frames
                cut = self.middle(start, following)
                yield Window(
                    samples=buffer.read(start * grid.stride, size), keep=(kept - start, cut - start)
                )
                kept, start = cut, following
                buffer.drop_before(start * grid.stride)
        num_frames = grid.num_frames(buffer.stop)
        if not num_frames:
            raise TooShortError(
                f"expected at least {grid.reach} samples, one frame, received {buffer.stop}"
            )
        if num_frames > start + self.window_frames:
            following = num_frames - self.window_frames
            cut = self.middle(start, following)
            yield Window(
                samples=buffer.read(start * grid.stride, size), keep=(kept - start, cut - start)
            )
            kept, start = cut, following
        left = size if start else buffer.stop
        yield Window(
            samples=buffer.read(start * grid.stride, left), keep=(kept - start, num_frames - start)
        )

    def middle(self, start: int, following: int) -> int:
        """Return the frame up to which a window keeps its frames, given where the next begins."""
        return (following + start + self.window_frames) // 2

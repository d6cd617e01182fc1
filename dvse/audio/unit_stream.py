"""Units of a recording that is still being made: samples in, codes out as soon as they are final.

    push ─► resample ─► window full? ─► encode once ─► codes that no later window may take over

The codes are those of the whole recording, whatever the pieces in which it comes: windows begin at
the same places and have the same shapes. Of a full window the first half is final at once, the rest
frame by frame as it becomes sure that the next window begins late enough. So a code waits for at
most a window of sound, and where rates differ for the resampler's half second.

All state is here and belongs to one stream; the tokenizer is only asked.
"""

import numpy as np

from dvse.audio.preparer import AudioPreparer
from dvse.audio.resampling import StreamResampler
from dvse.audio.sample_buffer import SampleBuffer
from dvse.audio.windows import Windowing
from dvse.chunk import Chunk
from dvse.errors import InputError, TooShortError
from dvse.media_tokenizer import MediaTokenizer


class UnitStream:
    """One recording on its way.

    Args:
        tokenizer: an audio tokenizer whose recordings are cut into overlapping windows.
        preparer: its settings.
        sample_rate_hz: of the samples that come.

    Attributes:
        num_samples: that came.
        num_frames: whose codes were given out.

    Raises:
        InputError: a tokenizer that cuts recordings another way, or scales them as a whole.
    """

    def __init__(
        self, tokenizer: MediaTokenizer, preparer: AudioPreparer, sample_rate_hz: int
    ) -> None:
        if not isinstance(preparer.windowing, Windowing):
            raise InputError("this tokenizer cuts recordings into chunks and cannot be streamed")
        if preparer.scale_floor is not None:
            raise InputError(
                "this tokenizer scales a recording by the mean and variance of the whole of it, "
                "which a stream does not know yet; tokenise the finished recording, or use one "
                "that scales each window"
            )
        self._tokenizer, self._preparer = tokenizer, preparer
        self._grid, self._windowing = preparer.grid, preparer.windowing
        self._resampler = StreamResampler(
            sample_rate_hz, preparer.sample_rate_hz, preparer.resampler
        )
        self._buffer = SampleBuffer()
        self._rate_hz = sample_rate_hz
        self._start = 0  # frame at which the window that is awaited begins
        self._codes: np.ndarray | None = None  # of the last full window
        self._codes_start = 0
        self.num_samples = self.num_frames = 0
        if preparer.pad_samples:
            self._buffer.append(np.zeros(preparer.pad_samples, np.float32))

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take mono float32 `[n]` and return the codes `int32 [frames, num_levels]` now final."""
        self.num_samples += len(samples)
        for block in self._resampler.push(samples):
            self._buffer.append(block)
        return self._joined(self._full_windows())

    def finish(self) -> np.ndarray:
        """Learn that nothing follows and return the remaining codes.

        Raises:
            TooShortError: less than one frame came.
        """
        for block in self._resampler.finish():
            self._buffer.append(block)
        if self._preparer.pad_samples:
            self._buffer.append(np.zeros(self._preparer.pad_samples, np.float32))
        return self._joined([*self._full_windows(), *self._rest()])

    def _full_windows(self) -> list[np.ndarray]:
        found = []
        size, stride = self._windowing.full_samples(self._grid), self._grid.stride
        # The first is only known to be a full one when there is a frame behind it.
        more = stride if self._codes is None else 0
        while self._buffer.stop >= self._start * stride + size + more:
            found += self._next_window(self._start)
            self._start += self._windowing.hop_frames
            more = 0
        if self._codes is not None:
            # If the recording ended here, the last window would begin so; it cannot begin earlier.
            last = self._grid.num_frames(self._buffer.stop) - self._windowing.window_frames
            following = max(last, self._codes_start + 1)
            found.append(self._take(self._windowing.middle(self._codes_start, following)))
        return found

    def _rest(self) -> list[np.ndarray]:
        num_frames = self._grid.num_frames(self._buffer.stop)
        if not num_frames:
            raise TooShortError(
                f"expected at least {self._grid.reach} samples, one frame, received "
                f"{self._buffer.stop} of {self.num_samples} at {self._rate_hz} Hz"
            )
        found = []
        if self._codes is None:
            self._codes = self._encoded(self._buffer.read(0, self._buffer.stop))
        elif num_frames > self._codes_start + self._windowing.window_frames:
            found += self._next_window(num_frames - self._windowing.window_frames)
        return [*found, self._take(num_frames)]

    def _next_window(self, start: int) -> list[np.ndarray]:
        """Encode the full window at a frame; return what the one before it still had to say."""
        found = []
        if self._codes is not None:
            found.append(self._take(self._windowing.middle(self._codes_start, start)))
        place, size = start * self._grid.stride, self._windowing.full_samples(self._grid)
        self._codes, self._codes_start = self._encoded(self._buffer.read(place, size)), start
        # The last window of the recording begins behind this one.
        self._buffer.drop_before(place)
        return found

    def _take(self, stop: int) -> np.ndarray:
        assert self._codes is not None
        first, self.num_frames = self.num_frames, max(stop, self.num_frames)
        return self._codes[first - self._codes_start : self.num_frames - self._codes_start]

    def _encoded(self, samples: np.ndarray) -> np.ndarray:
        (codes,) = self._tokenizer.encode([Chunk(modality="audio", data=samples)])
        return codes

    def _joined(self, found: list[np.ndarray]) -> np.ndarray:
        empty = np.zeros((0, self._tokenizer.num_levels), np.int32)
        return np.concatenate([empty, *found])

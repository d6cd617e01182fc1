"""Recordings to chunks: the half of the audio tokenizer that decode workers run.

Needs torch (through torchaudio) only for a recording whose rate is not the bundle's.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from dvse.audio.decoding import Recording, opened
from dvse.audio.plan import Plan
from dvse.audio.resampling import Resampler, resample_channels, resample_stream
from dvse.audio.scaling import RecordingScale
from dvse.audio.windows import FrameGrid, Window
from dvse.chunk import Chunk
from dvse.errors import ConfigError, DecodeError, InputError, ItemTypeError, TooShortError
from dvse.items import Audio, Item
from dvse.media_tokenizer import Preparer

_MOST_PADDED = 1 << 20


@dataclass(frozen=True, kw_only=True)
class AudioPreparer(Preparer):
    """Decodes a recording, brings it to one rate and cuts it into windows: a chunk each.

    Attributes:
        sample_rate_hz: the encoder's.
        grid: how the encoder's frames lie over samples.
        windowing: how long recordings are cut.
        max_duration_s: longer recordings are refused.
        num_channels: one, of which all channels of a recording are the mean; or two, which one
            channel goes to both of.
        pad_samples: zeros before and after, at the encoder's rate (slamkit pads 40: 50 Hz exactly).
        scale_floor: scale the whole recording to mean 0 and variance 1 before it is cut, with this
            added to the variance; it is read twice then. `None` leaves samples as they are.
        resampler: who brings it to one rate.

    >>> from dvse.audio.windows import Windowing
    >>> preparer = AudioPreparer(
    ...     sample_rate_hz=8000,
    ...     grid=FrameGrid(stride=160, reach=200),
    ...     windowing=Windowing(window_frames=100, hop_frames=80),
    ... )
    >>> sound = Audio(np.zeros((48_000, 2)), sample_rate_hz=16_000)
    >>> [(chunk.data.shape, chunk.keep) for chunk in preparer.prepare(sound)]
    [((16040,), (0, 74)), ((16040,), (25, 100))]
    """

    sample_rate_hz: int
    grid: FrameGrid
    windowing: Plan
    max_duration_s: float = 86_400.0
    num_channels: int = 1
    pad_samples: int = 0
    scale_floor: float | None = None
    resampler: Resampler = "torchaudio"

    def __post_init__(self) -> None:
        check_rate(self.sample_rate_hz)
        if not self.max_duration_s > 0:
            raise ConfigError(f"expected a max_duration_s above 0, received {self.max_duration_s}")
        check_padding(self.pad_samples)

    def prepare(self, item: Item, *, part: int = 0) -> Iterator[Chunk]:
        """Yield a chunk for each window, holding about a window and a hop in memory.

        Raises:
            InputError: see `dvse.audio.decoding.opened`; `TooShortError` below one frame.
        """
        if not isinstance(item, Audio):
            raise ItemTypeError(f"expected dvse.Audio, received {type(item).__name__}")
        scale = None
        if self.scale_floor is not None:
            with self._opened(item) as recording:
                samples = self._samples(recording.blocks, recording.sample_rate_hz)
                scale = RecordingScale.of(samples, variance_floor=self.scale_floor)
        with self._opened(item) as recording:
            yield from self._chunks(recording, part, scale)

    def _opened(self, item: Audio) -> AbstractContextManager[Recording]:
        return opened(item, max_duration_s=self.max_duration_s, num_channels=self.num_channels)

    def _samples(self, blocks: Iterable[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
        """What the encoder's frames lie over: resampled, silence at both ends."""
        channels = () if self.num_channels == 1 else (self.num_channels,)
        silence = np.zeros((self.pad_samples, *channels), np.float32)
        resampled = resample_channels if channels else resample_stream
        if self.pad_samples:
            yield silence
        yield from resampled(blocks, rate_hz, self.sample_rate_hz, self.resampler)
        if self.pad_samples:
            yield silence

    def _chunks(
        self, recording: Recording, part: int, scale: RecordingScale | None
    ) -> Iterator[Chunk]:
        rate_hz, num_samples = recording.sample_rate_hz, 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal num_samples
            for block in recording.blocks:
                num_samples += len(block)
                yield block

        samples: Iterable[np.ndarray] = self._samples(counted(), rate_hz)
        if scale is not None:
            samples = _scaled(samples, scale, recording.name)
        told_s = 0.0
        waiting: Window | None = None
        try:
            for window in self.windowing.cut(samples, self.grid):
                if waiting is not None:
                    duration_s = self._stands_for(waiting) / self.sample_rate_hz
                    told_s += duration_s
                    yield _chunk(waiting, duration_s, part)
                waiting = window
        except TooShortError as error:
            needed_ms = 1000 * self.grid.reach / self.sample_rate_hz
            raise TooShortError(
                f"{recording.name}: expected at least {needed_ms:.0f} ms of sound, received "
                f"{1000 * num_samples / rate_hz:.1f} ms"
            ) from error
        except InputError:
            raise
        assert waiting is not None
        yield _chunk(waiting, max(0.0, num_samples / rate_hz - told_s), part)

    def _stands_for(self, window: Window) -> int:
        if window.stands_for is not None:
            return window.stands_for
        return (window.keep[1] - window.keep[0]) * self.grid.stride


def check_rate(sample_rate_hz: float) -> None:
    """Check the rate that an encoder hears.

    Raises:
        ConfigError: none that an encoder has.
    """
    if not isinstance(sample_rate_hz, int | float) or not 1_000 <= sample_rate_hz <= 200_000:
        raise ConfigError(f"expected a sample_rate_hz of 1000..200000, received {sample_rate_hz!r}")


def check_padding(pad_samples: int) -> None:
    """Check the zeros before and after a recording.

    Raises:
        ConfigError: no number of them, or too many.
    """
    is_whole = isinstance(pad_samples, int) and not isinstance(pad_samples, bool)
    if not is_whole or not 0 <= pad_samples <= _MOST_PADDED:
        raise ConfigError(f"expected pad_samples of 0..{_MOST_PADDED}, received {pad_samples!r}")


def _scaled(blocks: Iterable[np.ndarray], scale: RecordingScale, name: str) -> Iterator[np.ndarray]:
    num_samples = 0
    for block in scale.apply(blocks):
        num_samples += len(block)
        yield block
    if num_samples != scale.num_samples:
        raise DecodeError(
            f"{name}: had {scale.num_samples} samples when it was measured and {num_samples} when "
            "it was read; it is being written, try again when it is finished"
        )


def _chunk(window: Window, duration_s: float, part: int) -> Chunk:
    return Chunk(
        modality="audio",
        part=part,
        data=window.samples,
        keep=window.keep,
        duration_s=duration_s,
    )

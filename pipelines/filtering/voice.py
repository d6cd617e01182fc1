"""A filter on the share of speech in a recording, found by Silero VAD (extra `filters`)."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from dvse.audio.resampling import StreamResampler
from dvse.errors import ConfigError, MissingExtraError
from pipelines.filtering.media_filter import Meter, SoundFilter
from pipelines.filtering.row_filter import Refusal
from pipelines.settings import setting

RATE_HZ, WINDOW = 16_000, 512


@dataclass(frozen=True, kw_only=True)
class VoiceFilter(SoundFilter):
    """A bound on the share of recordings in which somebody speaks (silero-vad).

    Silero VAD (github.com/snakers4/silero-vad) judges windows of 32 ms at 16 kHz; its weights are
    part of its package.

    Raises:
        MissingExtraError: silero-vad is not installed.
    """

    name: ClassVar[str] = "voice"
    least_share: float = setting(0.2, "share of windows with speech, above 0 and at most 1")
    threshold: float = setting(0.5, "probability from which a window counts as speech")

    def __post_init__(self) -> None:
        if not 0 < self.least_share <= 1 or not 0 < self.threshold < 1:
            raise ConfigError(
                f"[{self.name}]: expected least_share and threshold in 0..1, received "
                f"{self.least_share} and {self.threshold}"
            )
        from importlib.util import find_spec

        if find_spec("silero_vad") is None:
            raise MissingExtraError.for_extra("silero-vad", "filters")

    def meter(self, sample_rate_hz: int) -> Meter:
        """Return what finds speech."""
        return _SpeechWindows(self, sample_rate_hz)


class _SpeechWindows(Meter):
    def __init__(self, kind: VoiceFilter, sample_rate_hz: int) -> None:
        self._kind = kind
        self._resampler = StreamResampler(sample_rate_hz, RATE_HZ)
        self._left = np.zeros(0, dtype=np.float32)
        self._num_windows = self._num_speech = 0
        self._model = _model()
        self._model.reset_states()

    def push(self, block: np.ndarray) -> None:
        for part in self._resampler.push(block):
            self._take(part)

    def finish(self) -> Refusal | None:
        for part in self._resampler.finish():
            self._take(part)
        if len(self._left):
            self._take(np.zeros(WINDOW - len(self._left), dtype=np.float32))
        share = self._num_speech / max(self._num_windows, 1)
        if share >= self._kind.least_share:
            return None
        return Refusal(
            reason=f"{share:.1%} of it is speech, at least {self._kind.least_share:.1%} wanted",
            score=share,
        )

    def _take(self, samples: np.ndarray) -> None:
        samples = np.concatenate([self._left, samples])
        whole = len(samples) // WINDOW * WINDOW
        self._left = samples[whole:]
        with _one_thread() as torch, torch.inference_mode():
            for window in torch.from_numpy(samples[:whole].copy()).view(-1, WINDOW):
                self._num_windows += 1
                speech = self._model(window, RATE_HZ).item()
                self._num_speech += speech >= self._kind.threshold


@cache
def _model() -> Any:
    """The network, loaded once a process."""
    with warnings.catch_warnings(), _one_thread():
        # TorchScript is going away some day; the package will bring another form then.
        warnings.filterwarnings("ignore", ".*torch.jit.*", FutureWarning)
        warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
        from silero_vad import load_silero_vad

        return load_silero_vad()


@contextmanager
def _one_thread() -> Iterator[Any]:
    """Torch with one thread, as decode workers have it; importing silero_vad sets that for good."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield torch
    finally:
        torch.set_num_threads(threads)

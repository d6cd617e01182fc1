"""Resampling of a stream: the same samples however the stream is cut into blocks.

The filter is torchaudio's Hann-windowed sinc (`torchaudio.functional.resample`, its defaults). It
runs over blocks of one fixed size with the neighbouring samples on both sides, so what comes out
does not depend on how much was read at a time. torchaudio keeps one filter for each output phase,
`new_hz / gcd` of them, each as long as `old_hz / gcd` samples; for two rates with a small common
divisor (15,999 → 16,000 Hz) that table would fill a gigabyte, and the same weights are computed
for each sample instead.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import numpy as np

from dvse.errors import ConfigError

_ZERO_CROSSINGS, _ROLLOFF = 6, 0.99
_MAX_TABLE = 1 << 20
_BLOCK_S = 0.5


def resample_stream(
    blocks: Iterable[np.ndarray], rate_hz: int, new_rate_hz: int
) -> Iterator[np.ndarray]:
    """Yield float32 blocks at `new_rate_hz` of the mono float32 `blocks` at `rate_hz`.

    `ceil(n * new_rate_hz / rate_hz)` samples come out of n.

    Raises:
        ConfigError: a rate below 1.

    >>> ones = [np.ones(30, np.float32), np.ones(50, np.float32)]
    >>> sum(len(block) for block in resample_stream(ones, 16000, 8000))
    40
    """
    if rate_hz < 1 or new_rate_hz < 1:
        raise ConfigError(f"expected rates above 0, received {rate_hz} and {new_rate_hz}")
    if rate_hz == new_rate_hz:
        yield from blocks
        return
    divisor = math.gcd(rate_hz, new_rate_hz)
    old, new = rate_hz // divisor, new_rate_hz // divisor
    reach = math.ceil(_ZERO_CROSSINGS * old / (min(old, new) * _ROLLOFF))
    table_size = new * (old + 2 * reach)
    resampler: _Filter = (_TableFilter if table_size <= _MAX_TABLE else _DirectFilter)(
        old, new, reach
    )
    yield from _filtered(blocks, resampler, old, new, max(1, round(_BLOCK_S * rate_hz)))


def _filtered(
    blocks: Iterable[np.ndarray], resampler: "_Filter", old: int, new: int, block_size: int
) -> Iterator[np.ndarray]:
    # A step is a stretch of input that ends on an output sample where the filter allows it; the
    # context on its left is what the last step has read, on its right what is read ahead.
    step = resampler.step(block_size)
    context = resampler.context
    buffer = np.zeros(context, np.float32)  # begins `context` samples before `position`
    position = num_in = num_out = 0
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        num_in += len(block)
        while len(buffer) >= step + 2 * context:
            out = resampler(buffer[: step + 2 * context], position)
            num_out += len(out)
            yield out
            buffer = buffer[step:]
            position += step
    total = -(-num_in * new // old)
    while num_out < total:
        padded = np.zeros(step + 2 * context, np.float32)
        padded[: len(buffer)] = buffer[: len(padded)]
        out = resampler(padded, position)[: total - num_out]
        num_out += len(out)
        yield out
        buffer = buffer[step:]
        position += step


class _Filter(ABC):
    """Turns a step of input, with `context` samples on both sides, into its output samples."""

    context: int

    @abstractmethod
    def step(self, block_size: int) -> int:
        """Return the size of a step, about `block_size`."""

    @abstractmethod
    def __call__(self, samples: np.ndarray, position: int) -> np.ndarray: ...


class _TableFilter(_Filter):
    """torchaudio's own filter bank; steps are whole periods of `old` samples."""

    def __init__(self, old: int, new: int, reach: int) -> None:
        import torch
        from torchaudio.transforms import Resample

        self._torch = torch
        self._resample = Resample(old, new)
        self._old, self._new = old, new
        self._periods = math.ceil(reach / old)
        self.context = self._periods * old

    def step(self, block_size: int) -> int:
        return self._old * max(1, round(block_size / self._old))

    def __call__(self, samples: np.ndarray, position: int) -> np.ndarray:
        # A caller's autocast must not reach the samples: it would round them to half precision.
        with self._torch.inference_mode(), self._torch.autocast("cpu", enabled=False):
            out = self._resample(self._torch.from_numpy(samples)).numpy()
        before = self._periods * self._new
        return out[before : len(out) - before]


class _DirectFilter(_Filter):
    """The same weights, computed for each output sample."""

    def __init__(self, old: int, new: int, reach: int) -> None:
        self._old, self._new, self._reach = old, new, reach
        self.context = reach + 1

    def step(self, block_size: int) -> int:
        return block_size

    def __call__(self, samples: np.ndarray, position: int) -> np.ndarray:
        old, new = self._old, self._new
        step = len(samples) - 2 * self.context
        first, stop = (-(-place * new // old) for place in (position, position + step))
        outputs = np.arange(first, stop, dtype=np.int64)
        whole, remainder = np.divmod(outputs * old, new)
        taps = np.arange(-self._reach, self._reach + 2)
        scale = min(old, new) * _ROLLOFF / old
        time = np.clip(
            (taps - (remainder / new)[:, None]) * scale, -_ZERO_CROSSINGS, _ZERO_CROSSINGS
        )
        weights = np.sinc(time) * np.cos(time * np.pi / (2 * _ZERO_CROSSINGS)) ** 2 * scale
        gathered = samples[(whole - position + self.context)[:, None] + taps]
        return (gathered * weights).sum(1).astype(np.float32)

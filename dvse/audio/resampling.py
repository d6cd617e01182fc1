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
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from dvse.errors import ConfigError
from dvse.float32_products import float32_products

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

_ZERO_CROSSINGS, _ROLLOFF = 6, 0.99
RESAMPLER = f"torchaudio's Hann-windowed sinc, {_ZERO_CROSSINGS} zero crossings, rolloff {_ROLLOFF}"
"""What parts record: another resampler gives other units."""
Resampler: TypeAlias = Literal["torchaudio", "numpy"]
"""Who multiplies: torchaudio, or NumPy by the same weights, which differs in last bits."""
_MAX_TABLE = 1 << 20
_BLOCK_S = 0.5


def resample_stream(
    blocks: Iterable[np.ndarray],
    rate_hz: int,
    new_rate_hz: int,
    resampler: Resampler = "torchaudio",
) -> Iterator[np.ndarray]:
    """Yield float32 blocks at `new_rate_hz` of the mono float32 `blocks` at `rate_hz`.

    `ceil(n * new_rate_hz / rate_hz)` samples come out of n.

    Raises:
        ConfigError: a rate below 1.

    >>> ones = [np.ones(30, np.float32), np.ones(50, np.float32)]
    >>> sum(len(block) for block in resample_stream(ones, 16000, 8000))
    40
    """
    stream = StreamResampler(rate_hz, new_rate_hz, resampler)
    for block in blocks:
        yield from stream.push(block)
    yield from stream.finish()


def resample_channels(
    blocks: Iterable[np.ndarray],
    rate_hz: int,
    new_rate_hz: int,
    resampler: Resampler = "torchaudio",
) -> Iterator[np.ndarray]:
    """Yield what `resample_stream` makes of each channel, side by side.

    Args:
        blocks: float32 [n, channels].
        rate_hz, new_rate_hz, resampler: as there.

    Raises:
        ConfigError: a rate below 1.

    >>> pairs = [np.ones((30, 2), np.float32), np.ones((50, 2), np.float32)]
    >>> np.concatenate(list(resample_channels(pairs, 16000, 8000))).shape
    (40, 2)
    """
    streams: list[StreamResampler] = []
    for block in blocks:
        streams = streams or [
            StreamResampler(rate_hz, new_rate_hz, resampler) for _ in range(block.shape[1])
        ]
        pushed = (stream.push(block[:, i]) for i, stream in enumerate(streams))
        yield from map(_side_by_side, zip(*pushed, strict=True))
    yield from map(_side_by_side, zip(*(stream.finish() for stream in streams), strict=True))


def _side_by_side(channels: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.stack(channels, axis=1)


class StreamResampler:
    """Resamples one stream, block by block; its state is the samples that are not done with.

    Args:
        rate_hz, new_rate_hz: of what comes and of what goes.
        resampler: who multiplies.

    Raises:
        ConfigError: a rate below 1.
    """

    def __init__(self, rate_hz: int, new_rate_hz: int, resampler: Resampler = "torchaudio") -> None:
        if rate_hz < 1 or new_rate_hz < 1:
            raise ConfigError(f"expected rates above 0, received {rate_hz} and {new_rate_hz}")
        divisor = math.gcd(rate_hz, new_rate_hz)
        self._old, self._new = old, new = rate_hz // divisor, new_rate_hz // divisor
        self._filter: _Filter | None = None
        if old == new:
            return
        reach = math.ceil(_ZERO_CROSSINGS * old / (min(old, new) * _ROLLOFF))
        table_size = new * (old + 2 * reach)
        kind: type[_Filter] = _DirectFilter
        if table_size <= _MAX_TABLE:
            kind = _TableFilter if resampler == "torchaudio" else _ArrayFilter
        self._filter = kind(old, new, reach)
        # A step is a stretch of input that ends on an output sample where the filter allows it; the
        # context on its left is what the last step has read, on its right what is read ahead.
        self._step = self._filter.step(max(1, round(_BLOCK_S * rate_hz)))
        self._context = self._filter.context
        self._buffer = np.zeros(self._context, np.float32)  # begins so much before `_position`
        self._position = self._num_in = self._num_out = 0

    def push(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Take mono float32 samples and yield the blocks that are certain."""
        if self._filter is None:
            yield block
            return
        self._buffer = np.concatenate([self._buffer, block])
        self._num_in += len(block)
        needed = self._step + 2 * self._context
        while len(self._buffer) >= needed:
            yield self._advance(self._filter(self._buffer[:needed], self._position))

    def finish(self) -> Iterator[np.ndarray]:
        """Yield what is left when nothing follows."""
        if self._filter is None:
            return
        total = -(-self._num_in * self._new // self._old)
        while self._num_out < total:
            padded = np.zeros(self._step + 2 * self._context, np.float32)
            padded[: len(self._buffer)] = self._buffer[: len(padded)]
            out = self._filter(padded, self._position)[: total - self._num_out]
            yield self._advance(out)

    def _advance(self, out: np.ndarray) -> np.ndarray:
        self._num_out += len(out)
        self._buffer = self._buffer[self._step :]
        self._position += self._step
        return out


class _Filter(ABC):
    """Turns a step of input, with `context` samples on both sides, into its output samples."""

    context: int

    @abstractmethod
    def __init__(self, old: int, new: int, reach: int) -> None: ...

    @abstractmethod
    def step(self, block_size: int) -> int:
        """Return the size of a step, about `block_size`."""

    @abstractmethod
    def __call__(self, samples: np.ndarray, position: int) -> np.ndarray: ...


@lru_cache(maxsize=8)
def _table(old: int, new: int) -> "Resample":
    """The filters of two rates: to make them costs as much as to encode half a second."""
    from torchaudio.transforms import Resample

    return Resample(old, new)


class _TableFilter(_Filter):
    """torchaudio's own filter bank; steps are whole periods of `old` samples."""

    def __init__(self, old: int, new: int, reach: int) -> None:
        import torch

        self._torch = torch
        self._resample = _table(old, new)
        self._old, self._new = old, new
        self._periods = math.ceil(reach / old)
        self.context = self._periods * old

    def step(self, block_size: int) -> int:
        return self._old * max(1, round(block_size / self._old))

    def __call__(self, samples: np.ndarray, position: int) -> np.ndarray:
        # A caller's settings must not reach the samples: they would round them to half precision.
        torch = self._torch
        with torch.inference_mode(), torch.autocast("cpu", enabled=False), float32_products():
            out = self._resample(torch.from_numpy(samples)).numpy()
        before = self._periods * self._new
        return out[before : len(out) - before]


@lru_cache(maxsize=8)
def _weights(old: int, new: int, reach: int) -> np.ndarray:
    """Return the filter of each output phase, `fp32 [2 * reach + old, new]`, torchaudio's."""
    base = min(old, new) * _ROLLOFF
    taps = np.arange(-reach, reach + old) / old
    time = np.clip((taps[:, None] - np.arange(new) / new) * base, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = np.cos(time * np.pi / (2 * _ZERO_CROSSINGS)) ** 2
    return (np.sinc(time) * window * (base / old)).astype(np.float32)


class _ArrayFilter(_Filter):
    """The same filter bank where torch is not to be imported: one product of arrays a step."""

    def __init__(self, old: int, new: int, reach: int) -> None:
        self._old, self._reach = old, reach
        self._weights = _weights(old, new, reach)
        self.context = math.ceil(reach / old) * old

    def step(self, block_size: int) -> int:
        return self._old * max(1, round(block_size / self._old))

    def __call__(self, samples: np.ndarray, position: int) -> np.ndarray:
        num_periods = (len(samples) - 2 * self.context) // self._old
        width = 2 * self._reach + self._old
        windows = np.lib.stride_tricks.sliding_window_view(samples, width)
        first = self.context - self._reach
        rows = windows[first : first + num_periods * self._old : self._old]
        return (rows @ self._weights).reshape(-1)


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

"""From what a user hands in to blocks of mono samples, or one clear error.

A file is read a block at a time by libsndfile (through soundfile), whatever its length; all its
channels are averaged. It refuses to know the rate that an encoder wants.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import soundfile

from dvse.audio.containers import missing_bytes
from dvse.errors import (
    DecodeError,
    ItemTypeError,
    TooLargeError,
)
from dvse.items import Audio
from dvse.media_file import open_media_file, printable

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 1_000_000
MAX_AMPLITUDE = 1e6
"""Full scale is 1; float files may pass it, but no recording does so a million times."""

_BLOCK_VALUES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording that is being read.

    Attributes:
        name: how messages call it.
        sample_rate_hz: of the file or array.
        blocks: mono float32 [n] blocks in order; reading them raises `InputError`s.
    """

    name: str
    sample_rate_hz: int
    blocks: Iterator[np.ndarray]


@contextmanager
def opened(item: Audio, *, max_duration_s: float) -> Iterator[Recording]:
    """Open a path, the bytes of a file, or an array [n] or [n, channels].

    Raises (on opening, or while the blocks are read):
        MissingFileError, UnreadableFileError: the path cannot be read.
        DecodeError: empty, truncated, no audio, or samples that are NaN, infinite or absurd.
        TooLargeError: longer than `max_duration_s`.
        ItemTypeError: another kind of object, or an array without a rate or of another shape.

    >>> with opened(Audio(np.zeros((4, 2)), sample_rate_hz=8000), max_duration_s=1) as recording:
    ...     [block.tolist() for block in recording.blocks]
    [[0.0, 0.0, 0.0, 0.0]]
    """
    source = item.source
    if isinstance(source, bytes | bytearray | memoryview):
        with io.BytesIO(source) as data, _opened_file(data, "these bytes", item) as recording:
            yield _checked(recording, max_duration_s)
    elif isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        # Unbuffered: libsndfile shares its place.
        file = open_media_file(path, expected="an audio file", buffering=0)
        with file, _opened_file(file, printable(path), item) as recording:
            yield _checked(recording, max_duration_s)
    elif hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
        yield _checked(_array_recording(source, item.sample_rate_hz), max_duration_s)
    else:
        raise ItemTypeError(
            "dvse.Audio takes a path, the bytes of a file, or an array [samples] or "
            f"[samples, channels] with sample_rate_hz, received {type(source).__name__}"
        )


@contextmanager
def _opened_file(file: BinaryIO, name: str, item: Audio) -> Iterator[Recording]:
    start = file.read(16)
    if not start:
        raise DecodeError(f"{name}: expected a recording, received zero bytes")
    if missing := missing_bytes(file):
        raise DecodeError(
            f"{name}: truncated, at least {missing} bytes are missing at its end; copy it again"
        )
    try:
        # A descriptor is read by libsndfile itself; a name would have to be valid UTF-8.
        sound = soundfile.SoundFile(
            file if isinstance(file, io.BytesIO) else file.fileno(),
            closefd=False,
        )
    except Exception as error:  # a damaged header: soundfile raises many kinds
        raise DecodeError(
            f"{name}: expected WAV, FLAC, OGG, MP3 or another format that libsndfile reads, "
            f"received bytes that start with {start!r}"
        ) from error
    with sound:
        if item.sample_rate_hz not in (None, sound.samplerate):
            raise DecodeError(
                f"{name}: the file has {sound.samplerate} Hz, sample_rate_hz says "
                f"{item.sample_rate_hz}; leave it out for files"
            )
        yield Recording(
            name=name, sample_rate_hz=sound.samplerate, blocks=_file_blocks(sound, name)
        )


def _file_blocks(sound: soundfile.SoundFile, name: str) -> Iterator[np.ndarray]:
    expected, received = sound.frames, 0
    size = max(1024, _BLOCK_VALUES // sound.channels)
    while True:
        try:
            block = sound.read(size, dtype="float32", always_2d=True)
        except Exception as error:  # damaged in the middle
            raise DecodeError(
                f"{name}: damaged after {received / sound.samplerate:.3f} s; {error}"
            ) from error
        if not len(block):
            break
        received += len(block)
        yield _mono(block)
    if received < expected < 1 << 62:
        raise DecodeError(
            f"{name}: truncated, {received} of {expected} samples are there; copy it again"
        )


def _array_recording(source: Any, sample_rate_hz: int | None) -> Recording:
    try:
        array = np.asarray(source)
    except Exception as error:  # a tensor on a GPU, or one that needs gradients
        raise ItemTypeError(f"cannot be read as an array; {error}") from error
    shape = "x".join(map(str, array.shape))
    if sample_rate_hz is None:
        raise ItemTypeError(
            f"an array of {shape} samples needs its rate: dvse.Audio(samples, sample_rate_hz=16000)"
        )
    if isinstance(sample_rate_hz, bool) or not isinstance(sample_rate_hz, int | np.integer):
        raise ItemTypeError(f"expected a whole sample_rate_hz, received {sample_rate_hz!r}")
    if array.ndim == 2 and array.shape[0] < array.shape[1] and array.shape[1] > 64:
        raise ItemTypeError(f"expected samples [samples, channels], received {shape}; transpose it")
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise ItemTypeError(f"expected samples [samples] or [samples, channels], received {shape}")
    if array.dtype.kind not in "iuf":
        raise ItemTypeError(f"expected float or integer samples, received {array.dtype}")
    return Recording(
        name="this array", sample_rate_hz=int(sample_rate_hz), blocks=_array_blocks(array)
    )


def _array_blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    array = array[:, None] if array.ndim == 1 else array
    size = max(1024, _BLOCK_VALUES // array.shape[1])
    for start in range(0, len(array), size):
        yield _mono(_full_scale(array[start : start + size]))


def _full_scale(block: np.ndarray) -> np.ndarray:
    """Return float32 in [-1, 1) of integers (unsigned ones are centred); floats as they are."""
    if block.dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large a float64 becomes inf, which is refused
            return block.astype(np.float32)
    half = 2.0 ** (8 * block.dtype.itemsize - 1)
    centre = half if block.dtype.kind == "u" else 0.0
    return ((block.astype(np.float64) - centre) / half).astype(np.float32)


def _mono(block: np.ndarray) -> np.ndarray:
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _checked(recording: Recording, max_duration_s: float) -> Recording:
    """Return the recording with its rate checked, and each block as it is read."""
    rate = recording.sample_rate_hz
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise DecodeError(
            f"{recording.name}: expected a sample rate of {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz, "
            f"received {rate}"
        )
    return Recording(
        name=recording.name,
        sample_rate_hz=rate,
        blocks=_checked_blocks(recording, max_duration_s),
    )


def _checked_blocks(recording: Recording, max_duration_s: float) -> Iterator[np.ndarray]:
    rate, received = recording.sample_rate_hz, 0
    for block in recording.blocks:
        # The sum is NaN or infinite if any sample is; of finite ones it stays far from overflow.
        loudest = max(block.max(initial=0), -block.min(initial=0))
        if not np.isfinite(loudest) or not np.isfinite(block).all():
            bad = received + int(np.flatnonzero(~np.isfinite(block))[0])
            raise DecodeError(
                f"{recording.name}: sample {bad} ({bad / rate:.3f} s) is NaN or infinite"
            )
        if loudest > MAX_AMPLITUDE:
            raise DecodeError(
                f"{recording.name}: expected samples around -1..1, received {loudest:.3g}"
            )
        received += len(block)
        if received > max_duration_s * rate:
            raise TooLargeError(
                f"{recording.name}: longer than the limit of {max_duration_s:g} s; "
                "cut it, or raise max_duration_s of the bundle"
            )
        yield block

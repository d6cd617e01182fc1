"""From what a user hands in to blocks of mono samples, or one clear error.

The structure of a file is looked at first (`containers`), then libsndfile reads it a block at a
time, whatever its length, or FFmpeg where libsndfile cannot; all channels are averaged, unless some
are chosen or the encoder hears two. It refuses to know the rate that an encoder wants.
"""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from dvse.audio.containers import is_foreign, survey
from dvse.audio.ffmpeg_file import opened_by_ffmpeg
from dvse.audio.pcm_file import opened_pcm
from dvse.audio.pcm_format import PcmFormat, has_header, is_headerless, undeclared
from dvse.audio.recording import Recording, block_size, full_scale
from dvse.audio.sound_file import NotReadError, opened_sound
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


@contextmanager
def opened(item: Audio, *, max_duration_s: float, num_channels: int = 1) -> Iterator[Recording]:
    """Open a path, the bytes of a file, or an array [n] or [n, channels].

    Args:
        item: what a user hands in.
        max_duration_s: longer recordings are refused.
        num_channels: 1 gives blocks [n], the mean of all channels; 2 blocks [n, 2], where one
            channel goes to both and more than two are refused, as EnCodec's own code does.

    Raises (on opening, or while the blocks are read):
        MissingFileError, UnreadableFileError: the path cannot be read.
        DecodeError: empty, truncated, no audio, or samples that are NaN, infinite or absurd.
        TooLargeError: longer than `max_duration_s`.
        ItemTypeError: another kind of object, or an array without a rate or of another shape.

    >>> with opened(Audio(np.zeros((4, 2)), sample_rate_hz=8000), max_duration_s=1) as recording:
    ...     [block.tolist() for block in recording.blocks]
    [[0.0, 0.0, 0.0, 0.0]]
    """
    with opened_channels(item) as recording:
        mixed = _mono if num_channels == 1 else partial(_stereo, name=recording.name)
        blocks = map(mixed, recording.blocks)
        yield _checked(replace(recording, blocks=blocks), max_duration_s)


@contextmanager
def opened_channels(
    item: Audio, *, start_s: float = 0.0, is_length_known: bool = False
) -> Iterator[Recording]:
    """Open as `opened` does, with the channels of a block [n, channels] apart, unchecked.

    Args:
        item: what a user hands in.
        start_s: where to begin.
        is_length_known: the caller knows how much must come, so the file need not say it.

    Raises:
        InputError: as `opened`.
    """
    source = item.source
    read = partial(_opened_file, start_s=start_s, is_length_known=is_length_known)
    name = item.name or (
        printable(os.fspath(source)) if isinstance(source, str | os.PathLike) else "these bytes"
    )
    if isinstance(source, bytes | bytearray | memoryview):
        with io.BytesIO(source) as data, read(data, name, item) as recording:
            yield recording
    elif isinstance(source, str | os.PathLike):
        # Unbuffered: libsndfile shares its place.
        file = open_media_file(os.fspath(source), expected="an audio file", buffering=0)
        with file, read(file, name, item) as recording:
            yield recording
    elif hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
        yield _array_recording(source, item.sample_rate_hz, item.name or "this array")
    else:
        raise ItemTypeError(
            "dvse.Audio takes a path, the bytes of a file, or an array [samples] or "
            f"[samples, channels] with sample_rate_hz, received {type(source).__name__}"
        )


@contextmanager
def _opened_file(
    file: BinaryIO, name: str, item: Audio, *, start_s: float, is_length_known: bool
) -> Iterator[Recording]:
    start = file.read(16)
    if not start:
        raise DecodeError(f"{name}: expected a recording, received zero bytes")
    if item.pcm is not None and not has_header(start):
        with opened_pcm(file, name, PcmFormat.parse(item.pcm), start_s=start_s) as recording:
            yield recording
        return
    if is_headerless(name, start):
        raise undeclared(name)
    structure = survey(file)
    if structure.problem and not (structure.is_length_missing and is_length_known):
        raise DecodeError(f"{name}: {structure.problem}")
    with ExitStack() as stack:
        try:
            if is_foreign(start):
                raise NotReadError
            sound = opened_sound(
                file, name, structure, start_s=start_s, is_length_known=is_length_known
            )
            recording = stack.enter_context(sound)
        except NotReadError:
            recording = stack.enter_context(opened_by_ffmpeg(file, name, start, start_s=start_s))
        if item.sample_rate_hz not in (None, recording.sample_rate_hz):
            raise DecodeError(
                f"{name}: the file has {recording.sample_rate_hz} Hz, sample_rate_hz says "
                f"{item.sample_rate_hz}; leave it out for files"
            )
        yield recording


def _array_recording(source: Any, sample_rate_hz: int | None, name: str) -> Recording:
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
    return Recording(name=name, sample_rate_hz=int(sample_rate_hz), blocks=_array_blocks(array))


def _array_blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    array = array[:, None] if array.ndim == 1 else array
    size = block_size(array.shape[1])
    for start in range(0, len(array), size):
        yield full_scale(array[start : start + size])


def _mono(block: np.ndarray) -> np.ndarray:
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _stereo(block: np.ndarray, name: str) -> np.ndarray:
    if block.shape[1] > 2:
        raise DecodeError(
            f"{name}: expected one or two channels, received {block.shape[1]}; mix them down, or "
            "choose two where they are named"
        )
    return block if block.shape[1] == 2 else np.repeat(block, 2, axis=1)


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
            bad = received + int(np.argwhere(~np.isfinite(block))[0][0])
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

"""Reading raw samples of a declared format, with libsndfile."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import soundfile

from dvse.audio.pcm_format import PcmFormat
from dvse.audio.recording import Recording, block_size, num_samples
from dvse.errors import DecodeError

_SUBTYPES = {
    **{"s8": "PCM_S8", "u8": "PCM_U8", "mulaw": "ULAW", "alaw": "ALAW", "s16": "PCM_16"},
    **{"s24": "PCM_24", "s32": "PCM_32", "f32": "FLOAT", "f64": "DOUBLE"},
}
_ENDIANS = {"le": "LITTLE", "be": "BIG"}


@contextmanager
def opened_pcm(
    file: BinaryIO, name: str, format: PcmFormat, *, start_s: float = 0.0
) -> Iterator[Recording]:
    """Open raw samples, from a place on.

    Raises:
        DecodeError: half a sample at the end.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size % format.num_bytes:
        raise DecodeError(
            f"{name}: expected a multiple of {format.num_bytes} bytes ({format.encoding}, "
            f"{format.num_channels} channels), received {size}; truncated, or of another format"
        )
    ending = format.encoding[-2:] if format.encoding.endswith(("le", "be")) else ""
    sound = soundfile.SoundFile(
        file if isinstance(file, io.BytesIO) else file.fileno(),
        samplerate=format.sample_rate_hz,
        channels=format.num_channels,
        format="RAW",
        subtype=_SUBTYPES[format.encoding.removesuffix(ending)],
        endian=_ENDIANS.get(ending, "FILE"),
        closefd=False,
    )
    with sound:
        start = min(num_samples(start_s, format.sample_rate_hz), sound.frames)
        sound.seek(start)
        yield Recording(
            name=name,
            sample_rate_hz=format.sample_rate_hz,
            blocks=_blocks(sound, block_size(format.num_channels)),
        )


def _blocks(sound: soundfile.SoundFile, size: int) -> Iterator[np.ndarray]:
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        yield block

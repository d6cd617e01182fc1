"""Reading with FFmpeg (through PyAV, an extra) what libsndfile cannot: AAC, WMA, WebM, AMR.

Only containers on a list are opened, so that no playlist can name other files. A container with
a video, or with several sound streams, holds more than one recording and is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from dvse.audio.recording import Recording, full_scale, num_samples, without_first
from dvse.errors import DecodeError, MissingExtraError

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "aac", "amr", "amrnb", "amrwb", "ac3",
    "eac3", "dts", "truehd", "mlp", "flv", "ogg", "wav", "w64", "aiff", "au", "caf", "voc", "wv",
    "tta", "ape", "mpc", "mpc8", "rm", "mpegts", "mpeg", "iff", "oma", "tak", "dsf", "gsm", "avi",
    "sox", "loas", "flac", "nut", "nistsphere",
)  # fmt: skip
_STATES_LENGTH = ("mov", "matroska", "asf", "wv", "tta", "ape", "mpc8", "sox", "caf")
"""Containers whose header states a length that was known when it was written."""
_TOLERANCE_S = 0.1
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


@contextmanager
def opened_by_ffmpeg(
    file: BinaryIO, name: str, start: bytes, *, start_s: float = 0.0
) -> Iterator[Recording]:
    """Open the one sound stream of a container, from a place on.

    Raises:
        DecodeError: unknown, damaged, with a video, several or no sound streams, or PyAV is not
            installed.
    """
    try:
        import av
    except ImportError:
        problem = MissingExtraError.for_extra("PyAV", "formats")
        raise DecodeError(
            f"{name}: libsndfile does not read it (it starts with {start!r}), FFmpeg may; {problem}"
        ) from None
    file.seek(0)
    is_promise = not _is_broadcast(file.read(1 << 16))
    file.seek(0)
    try:
        container = av.open(file, options={"format_whitelist": ",".join(_CONTAINERS)})
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise DecodeError(
            f"{name}: expected a recording in a format that libsndfile or FFmpeg reads, received "
            f"bytes that start with {start!r}"
        ) from error
    with container:
        stream = _the_stream(container, name)
        stream.codec_context.thread_count = 1
        blocks = _blocks(container, stream, name)
        first = next(blocks, None)
        if first is None:
            raise DecodeError(f"{name}: it holds no sound")
        rate, block = first

        def rest() -> Iterator[np.ndarray]:
            received = len(block)
            yield block
            for other_rate, following in blocks:
                if other_rate != rate:
                    raise DecodeError(
                        f"{name}: the sample rate changes from {rate} to {other_rate} Hz inside"
                    )
                received += len(following)
                yield following
            if is_promise:
                _check_length(container, stream, received / rate, name)

        dropped = without_first(rest(), num_samples(start_s, rate))
        yield Recording(name=name, sample_rate_hz=rate, blocks=dropped)


def _the_stream(container: Any, name: str) -> Any:
    videos = [s for s in container.streams.video if not _is_cover(s)]
    if videos:
        raise DecodeError(f"{name}: it holds a video too; extract the sound first")
    sounds = list(container.streams.audio)
    if len(sounds) != 1:
        raise DecodeError(f"{name}: expected one sound stream, received {len(sounds)}; extract one")
    if sounds[0].codec_context is None:
        raise DecodeError(f"{name}: its sound is coded in a way that FFmpeg does not decode")
    return sounds[0]


def _is_broadcast(head: bytes) -> bool:
    """Whether an ASF was streamed: its header was written before its length was known.

    [ASF specification, 3.2: flags of the File Properties Object, bit 0]
    """
    place = head.find(_ASF_PROPERTIES)
    return 0 <= place < len(head) - 88 and head[place + 88] & 1 == 1


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is the one picture of a cover."""
    return bool(int(stream.disposition) & 0x400)


def _blocks(container: Any, stream: Any, name: str) -> Iterator[tuple[int, np.ndarray]]:
    import av

    received_s = 0.0
    try:
        for frame in container.decode(stream):
            samples = full_scale(frame.to_ndarray())
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            received_s += frame.samples / frame.sample_rate
            yield frame.sample_rate, np.ascontiguousarray(samples.T)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise DecodeError(f"{name}: damaged after {received_s:.3f} s; {error}") from error


def _check_length(container: Any, stream: Any, received_s: float, name: str) -> None:
    if not container.format.name.startswith(_STATES_LENGTH):
        return
    if stream.duration is not None:
        stated_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        stated_s = container.duration / 1e6
    else:
        return
    if received_s < stated_s - _TOLERANCE_S:
        raise DecodeError(
            f"{name}: truncated, {received_s:.2f} of {stated_s:.2f} s are there; copy it again"
        )

"""Reading with libsndfile (through soundfile), piece by piece, to the end of each.

Blocks are read whatever the length; the number of samples that a header promises is held against
what came.
"""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import BinaryIO

import numpy as np
import soundfile

from dvse.audio.pieces import Piece, PieceFile, Survey, without_length
from dvse.audio.recording import Recording, block_size, num_samples, without_first
from dvse.audio.stated_sizes import survey_htk
from dvse.errors import DecodeError
from dvse.native_lines import NativeLines, native_lines

SEEKABLE = frozenset(
    ("WAV", "WAVEX", "RF64", "AIFF", "AU", "W64", "CAF", "NIST", "FLAC", "VOC", "SVX", "AVR", "HTK")
)
"""Containers whose length is sure, and where any sample is found without those before it."""
_READ = SEEKABLE | {"OGG", "MP3"}
_UNKNOWN_LENGTH = 1 << 62
_SPARE = 1024
_MP3_IN_WAV = b"\x55\x00"


class NotReadError(Exception):
    """libsndfile does not know these bytes; another reader may."""


class _Sound(soundfile.SoundFile):
    """soundfile seeks to its place after each block: slow, and without a known length it fails."""

    is_read = False

    def seekable(self) -> bool:
        return not self.is_read and super().seekable()


@contextmanager
def opened_sound(
    file: BinaryIO,
    name: str,
    survey: Survey,
    *,
    start_s: float = 0.0,
    is_length_known: bool = False,
) -> Iterator[Recording]:
    """Open a file whose structure was surveyed, from a place on.

    Args:
        file, name, survey: what is read.
        start_s: where to begin.
        is_length_known: the caller holds its length against what came.

    Raises:
        NotReadError: libsndfile does not open it.
        DecodeError: damaged, truncated, or of a kind whose length cannot be told.
    """
    with ExitStack() as stack:
        pieces: tuple[Piece | None, ...] = survey.pieces or (None,)
        first = stack.enter_context(_opened(file, name, pieces[0]))
        if first.format not in _READ and not is_length_known:
            raise DecodeError(f"{name}: {without_length(f'a {first.format} file').problem}")
        rate = first.samplerate

        def blocks() -> Iterator[np.ndarray]:
            yield from _blocks(first, name, pieces[0], start)
            for piece in pieces[1:]:
                with _opened(file, name, piece) as sound:
                    if sound.samplerate != rate:
                        raise DecodeError(
                            f"{name}: recordings of {rate} and {sound.samplerate} Hz are joined "
                            "in it; cut it apart"
                        )
                    yield from _blocks(sound, name, piece, 0)

        start = num_samples(start_s, rate)
        rest = blocks()
        if start and (len(pieces) > 1 or first.format not in SEEKABLE):
            rest, start = without_first(rest, start), 0
        yield Recording(name=name, sample_rate_hz=rate, blocks=rest)


def _is_quiet(file: BinaryIO, piece: Piece | None) -> bool:
    """Whether none of the libraries that print will read it: they decode MPEG audio alone."""
    file.seek(0 if piece is None else piece.start)
    start = file.read(22)
    file.seek(0)
    if start[:4] == b"RIFF":
        return start[12:16] == b"fmt " and start[20:22] != _MP3_IN_WAV
    return start.startswith((b"fLaC", b"OggS", b"FORM", b".snd", b"caff"))


def _opened(file: BinaryIO, name: str, piece: Piece | None) -> _Sound:
    source: object = file
    if piece is not None:
        source = PieceFile(file, piece)
    elif not isinstance(file, io.BytesIO):
        # A descriptor is read by libsndfile itself; a name would have to be valid UTF-8.
        source = file.fileno()
    try:
        with nullcontext() if _is_quiet(file, piece) else native_lines():
            sound = _Sound(source, closefd=False)
    except Exception as error:  # a damaged header: soundfile raises many kinds
        raise NotReadError(str(error)) from error
    if sound.format == "HTK" and (problem := survey_htk(file, file.seek(0, 2)).problem):
        sound.close()
        raise DecodeError(f"{name}: {problem}")
    return sound


def _blocks(sound: _Sound, name: str, piece: Piece | None, start: int) -> Iterator[np.ndarray]:
    expected = sound.frames if piece is None or piece.num_samples is None else piece.num_samples
    is_guessed = sound.format in ("WAV", "WAVEX") and sound.subtype == "MPEG_LAYER_III"
    if is_guessed:
        expected = _UNKNOWN_LENGTH  # libsndfile guesses; the size of the chunk was checked
    if start:
        if start >= expected:
            return
        sound.seek(start)
    sound.is_read = True
    received = start
    size = block_size(sound.channels)
    is_sure, is_quiet = sound.format in SEEKABLE, sound.format != "MP3" and not is_guessed
    lines = NativeLines()
    while not is_sure or received < expected:
        try:
            with nullcontext() if is_quiet else native_lines(lines):
                # Where more may come than is promised, a little more is asked for.
                wanted = min(size, max(expected - received, 0 if is_sure else _SPARE))
                block = sound.read(wanted, dtype="float32", always_2d=True)
        except Exception as error:  # damaged in the middle
            raise DecodeError(
                f"{name}: damaged after {received / sound.samplerate:.3f} s; {error}{lines}"
            ) from error
        if not len(block):
            break
        received += len(block)
        yield block
    if received < expected < _UNKNOWN_LENGTH:
        raise DecodeError(
            f"{name}: truncated, {received} of {expected} samples are there; copy it again{lines}"
        )

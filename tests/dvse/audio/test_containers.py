"""Truncation is seen in the containers that libsndfile reads silently when cut."""

import io

import numpy as np
import pytest
import soundfile

from dvse.audio.containers import survey
from dvse.audio.pieces import WHOLE


def file_bytes(kind: str, subtype: str) -> bytes:
    samples = (0.3 * np.sin(np.arange(20_000) * 0.05)).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("FLAC", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_a_whole_file_misses_nothing(kind: str, subtype: str) -> None:
    assert survey(io.BytesIO(file_bytes(kind, subtype))) == WHOLE


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("W64", "PCM_16"),
        ("CAF", "PCM_16"),
        ("NIST", "PCM_16"),
        ("SVX", "PCM_16"),
        ("AVR", "PCM_16"),
    ],
)
def test_counts_what_is_missing(kind: str, subtype: str) -> None:
    data = file_bytes(kind, subtype)
    assert "at least 1234 bytes" in str(survey(io.BytesIO(data[:-1234])).problem)


@pytest.mark.parametrize("share", [0.05, 0.6, 0.999])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_cut_ogg_stream_is_seen(subtype: str, share: float) -> None:
    data = file_bytes("OGG", subtype)
    assert "truncated" in str(survey(io.BytesIO(data[: int(len(data) * share)])).problem)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_sizes_that_streaming_programs_leave_are_accepted(size: int) -> None:
    data = bytearray(file_bytes("WAV", "PCM_16"))
    data[40:44] = size.to_bytes(4, "little")
    assert survey(io.BytesIO(bytes(data))).problem is None


def test_leaves_the_file_at_its_start() -> None:
    file = io.BytesIO(file_bytes("OGG", "VORBIS"))
    survey(file)
    assert file.tell() == 0


@pytest.mark.parametrize("kind", ["IRCAM", "PVF", "PAF"])
def test_kinds_that_state_no_length_are_refused(kind: str) -> None:
    """Whole and cut in half look the same."""
    assert "states no length" in str(survey(io.BytesIO(file_bytes(kind, "PCM_16"))).problem)

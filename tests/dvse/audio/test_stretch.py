"""Stretches of recordings: of kinds that state no length, too, where the manifest says it."""

import io

import numpy as np
import pytest
import soundfile

from dvse.audio.stretch import read_stretch
from dvse.errors import DecodeError
from dvse.items import Audio

RATE_HZ = 8000
SOUND = (np.random.default_rng(0).integers(-(2**14), 2**14, 2 * RATE_HZ) / 2**15).astype(np.float32)


def written(kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE_HZ, format=kind, subtype="PCM_16")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["IRCAM", "PVF", "PAF", "MAT4", "MPC2K", "WAV"])
def test_a_stated_duration_stands_for_a_length_in_the_file(kind: str) -> None:
    file = Audio(written(kind), name="a.snd")
    whole = read_stretch(file, duration_s=2.0).source
    assert np.array_equal(whole[:, 0], SOUND)
    stretch = read_stretch(file, start_s=0.5, duration_s=1.0).source
    assert np.array_equal(stretch[:, 0], SOUND[4000:12000])


@pytest.mark.parametrize("kind", ["IRCAM", "PVF", "PAF", "MPC2K"])
def test_half_of_a_file_is_found_out_by_the_stated_duration(kind: str) -> None:
    data = written(kind)
    half = Audio(data[: len(data) // 2], name="a.snd")
    with pytest.raises(DecodeError, match=r"passes its end by 1\.\d* s|truncated"):
        read_stretch(half, duration_s=2.0)


@pytest.mark.parametrize("kind", ["IRCAM", "PVF", "PAF", "MAT4"])
def test_without_a_duration_they_are_refused(kind: str) -> None:
    file = Audio(written(kind), name="a.snd")
    with pytest.raises(DecodeError, match=r"a\.snd: .* states no length.* its duration"):
        read_stretch(file)
    with pytest.raises(DecodeError, match="states no length"):
        read_stretch(file, start_s=1.0)

"""Raw samples: sox writes them, libsndfile's reading of the same sound as WAV is the judge."""

import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from dvse.audio.decoding import opened_channels
from dvse.audio.pcm_format import PcmFormat
from dvse.errors import ConfigError, DecodeError
from dvse.items import Audio

RATE = 8000
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 2)).astype(np.float32)


def samples(item: Audio, start_s: float = 0.0) -> np.ndarray:
    with opened_channels(item, start_s=start_s) as recording:
        assert recording.sample_rate_hz == RATE
        return np.concatenate(list(recording.blocks))


@pytest.mark.skipif(shutil.which("sox") is None, reason="needs sox")
@pytest.mark.parametrize(
    ("encoding", "flags"),
    [
        ("s8", ["-b", "8", "-e", "signed"]),
        ("u8", ["-b", "8", "-e", "unsigned"]),
        ("s16le", ["-b", "16", "-e", "signed", "-L"]),
        ("s16be", ["-b", "16", "-e", "signed", "-B"]),
        ("s24le", ["-b", "24", "-e", "signed", "-L"]),
        ("s24be", ["-b", "24", "-e", "signed", "-B"]),
        ("s32le", ["-b", "32", "-e", "signed", "-L"]),
        ("f32le", ["-b", "32", "-e", "float", "-L"]),
        ("f32be", ["-b", "32", "-e", "float", "-B"]),
        ("f64le", ["-b", "64", "-e", "float", "-L"]),
        ("mulaw", ["-e", "mu-law"]),
        ("alaw", ["-e", "a-law"]),
    ],
)
def test_each_encoding_as_sox_writes_it(tmp_path, encoding, flags):
    soundfile.write(tmp_path / "a.wav", SOUND, RATE, subtype="FLOAT")
    raw, back = tmp_path / "a.raw", tmp_path / "back.wav"
    subprocess.run(["sox", "-D", tmp_path / "a.wav", "-t", "raw", *flags, raw], check=True)
    declared = ["-t", "raw", "-r", str(RATE), "-c", "2", *flags]
    subprocess.run(["sox", "-D", *declared, raw, "-b", "32", "-e", "float", back], check=True)
    pcm = f"{encoding}:{RATE}:2"
    judged = soundfile.read(back, dtype="float32")[0]
    for item in (Audio(raw, pcm=pcm), Audio(raw.read_bytes(), pcm=pcm)):
        assert np.abs(samples(item) - judged).max() < 1e-6
        assert np.abs(samples(item, 0.05) - judged[400:]).max() < 1e-6
    assert np.abs(judged - SOUND).max() < 0.04


def test_half_a_sample_is_refused():
    with pytest.raises(DecodeError, match="a multiple of 4 bytes"):
        samples(Audio(bytes(4002), pcm=f"s16le:{RATE}:2"))


@pytest.mark.parametrize("name", ["a.pcm", "A.RAW"])
def test_without_a_declaration_the_error_says_how(tmp_path, name):
    # An MP3's first bytes: a reader that guesses would take it for one.
    (tmp_path / name).write_bytes(b"\xff\xfb\x90\x00" * 1000)
    with pytest.raises(DecodeError, match=r"--pcm s16le:16000:1"):
        samples(Audio(tmp_path / name))


@pytest.mark.parametrize("text", ["s16le", "s16:8000:1", "s16le:0:1", "s16le:8000:x", "u16le:8:1"])
def test_a_format_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="ENCODING:RATE:CHANNELS"):
        PcmFormat.parse(text)


def test_an_open_file(tmp_path):
    wave = (SOUND * 32767).astype("<i2")
    expected = wave.astype(np.float32) / 32768
    assert np.array_equal(
        samples(Audio(io.BytesIO(wave.tobytes()), pcm=f"s16le:{RATE}:2")), expected
    )


@pytest.mark.parametrize("pcm", [None, "s16le:16000:1"])
def test_a_wav_that_is_called_raw_is_a_wav(tmp_path, pcm):
    soundfile.write(tmp_path / "a.raw", SOUND, RATE, format="WAV", subtype="FLOAT")
    assert np.array_equal(samples(Audio(tmp_path / "a.raw", pcm=pcm)), SOUND)

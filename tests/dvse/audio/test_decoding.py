"""Every kind of file comes out as mono float samples, or as one clear error."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dvse.audio.decoding import opened
from dvse.errors import (
    DecodeError,
    InputError,
    ItemTypeError,
    MissingFileError,
    TooLargeError,
    UnreadableFileError,
)
from dvse.items import Audio

SECONDS = 0.4


def sine(rate_hz: int, *, frequency: float = 440.0, seconds: float = SECONDS) -> np.ndarray:
    return (
        0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate_hz * seconds)) / rate_hz)
    ).astype(np.float32)


def read(
    source: object, rate: int | None = None, *, max_duration_s: float = 60.0
) -> tuple[np.ndarray, int]:
    with opened(Audio(source, sample_rate_hz=rate), max_duration_s=max_duration_s) as recording:
        blocks = list(recording.blocks)
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    return np.concatenate([np.zeros(0, np.float32), *blocks]), recording.sample_rate_hz


def encoded(samples: np.ndarray, rate_hz: int, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1 / 127),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-7),
        ("WAV", "FLOAT", 0.0),
        ("WAV", "DOUBLE", 0.0),
        ("WAV", "ULAW", 0.02),
        ("FLAC", "PCM_S8", 1 / 127),
        ("FLAC", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-6),
        ("AIFF", "PCM_16", 1e-4),
    ],
)
def test_lossless_files(kind: str, subtype: str, tolerance: float, rate_hz: int) -> None:
    expected = sine(rate_hz)
    samples, rate = read(encoded(expected, rate_hz, kind, subtype))
    assert rate == rate_hz
    np.testing.assert_allclose(samples, expected, atol=tolerance)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate_hz"),
    [
        ("OGG", "VORBIS", 44_100),
        ("OGG", "VORBIS", 8_000),
        ("OGG", "OPUS", 48_000),
        ("MP3", "MPEG_LAYER_III", 44_100),
        ("MP3", "MPEG_LAYER_III", 16_000),
    ],
)
def test_lossy_files_keep_length_and_sound(kind: str, subtype: str, rate_hz: int) -> None:
    expected = sine(rate_hz, seconds=1.0)
    samples, rate = read(encoded(expected, rate_hz, kind, subtype))
    assert rate == rate_hz
    assert abs(len(samples) - len(expected)) < 0.06 * rate_hz
    loudest = np.argmax(np.abs(np.fft.rfft(samples[: rate_hz // 2])))
    assert loudest == pytest.approx(220, abs=1)  # 440 Hz in half a second


@pytest.mark.parametrize("channels", [2, 6])
def test_all_channels_are_mixed(channels: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, (4000, channels)).astype(np.float32)
    mixed, _ = read(encoded(samples, 16_000, subtype="FLOAT"))
    np.testing.assert_allclose(mixed, samples.mean(1), atol=1e-6)


def test_many_blocks_are_read_in_order() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 700_000).astype(np.float32)
    with opened(Audio(encoded(samples, 48_000, subtype="FLOAT")), max_duration_s=60) as recording:
        blocks = list(recording.blocks)
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), samples)


@pytest.mark.parametrize(
    "name",
    [
        "plain.wav",
        "two words.wav",
        "a\nnew line.wav",
        "semi;colon'.wav",
        "名.wav",
        "x.raw",
        "noending",
    ],
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(encoded(sine(16_000), 16_000))
    assert len(read(tmp_path / name)[0]) == 6400
    assert len(read(str(tmp_path / name))[0]) == 6400


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.wav")
    try:
        path.write_bytes(encoded(sine(16_000), 16_000))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert len(read(path)[0]) == 6400
    path.write_bytes(b"")
    with pytest.raises(DecodeError, match=r"\\xff\\xfe.wav: .* zero bytes"):
        read(path)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read(tmp_path / "missing.wav")
    with pytest.raises(UnreadableFileError, match="it is a folder"):
        read(tmp_path)
    with pytest.raises(UnreadableFileError, match="cannot be opened"):
        read("with\0nul.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UnreadableFileError, match="no regular file"):
        read(tmp_path / "pipe.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded(sine(16_000), 16_000))
    path.chmod(0)
    with pytest.raises(UnreadableFileError, match="no permission"):
        read(path)


def test_empty_and_foreign_bytes() -> None:
    with pytest.raises(DecodeError, match="zero bytes"):
        read(b"")
    with pytest.raises(DecodeError, match="bytes that start with b'hello"):
        read(b"hello, this is a text that somebody called speech.wav")
    with pytest.raises(DecodeError):
        read(b"RIFF")
    with pytest.raises(DecodeError):
        read(os.urandom(5000))


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")],
)
def test_truncated_files(kind: str, subtype: str, share: float) -> None:
    rng = np.random.default_rng(0)
    data = encoded(rng.uniform(-0.5, 0.5, 80_000).astype(np.float32), 16_000, kind, subtype)
    with pytest.raises(DecodeError):
        read(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_damaged_bytes_never_raise_another_error(kind: str) -> None:
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(kind, "PCM_16")
    data = encoded(sine(16_000), 16_000, kind, subtype)
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), size=3):
            damaged[place] = rng.integers(256)
        try:
            read(bytes(damaged))
        except InputError as error:
            assert "\n" not in str(error)


def test_headers_that_lie() -> None:
    data = bytearray(encoded(sine(16_000), 16_000))
    data[40:44] = (10**8).to_bytes(4, "little")
    with pytest.raises(DecodeError, match="truncated"):
        read(bytes(data))
    data = bytearray(encoded(sine(16_000), 16_000))
    data[24:28] = (4_000_000_000).to_bytes(4, "little")
    with pytest.raises(DecodeError):
        read(bytes(data))
    data = bytearray(encoded(sine(16_000), 16_000))
    data[24:28] = (10).to_bytes(4, "little")
    with pytest.raises(DecodeError, match="sample rate of 1000 to 1000000 Hz, received 10"):
        read(bytes(data))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(bad: float) -> None:
    samples = sine(16_000)
    samples[800] = bad
    for source, rate in ((samples, 16_000), (encoded(samples, 16_000, subtype="FLOAT"), None)):
        with pytest.raises(DecodeError, match=r"sample 800 \(0.050 s\) is NaN or infinite"):
            read(source, rate)


def test_absurd_amplitudes() -> None:
    with pytest.raises(DecodeError, match=r"around -1\.\.1, received 1e\+07"):
        read(np.full(1000, 1e7), 16_000)
    with pytest.raises(DecodeError, match="infinite"):
        read(np.full(1000, 1e300), 16_000)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (np.int16, -32768, -1.0),
        (np.int16, 16384, 0.5),
        (np.int32, 1 << 30, 0.5),
        (np.int8, -64, -0.5),
        (np.uint8, 192, 0.5),
        (np.uint8, 128, 0.0),
        (np.uint16, 0, -1.0),
        (np.float64, 0.25, 0.25),
        (np.float16, 0.25, 0.25),
    ],
)
def test_arrays_of_every_dtype(dtype: type, value: float, expected: float) -> None:
    samples, rate = read(np.full(500, value, dtype), 12_345)
    assert rate == 12_345
    np.testing.assert_array_equal(samples, np.full(500, expected, np.float32))


def test_arrays_with_channels_and_tensors() -> None:
    import torch

    stereo = np.stack([np.full(100, 0.2), np.full(100, 0.4)], axis=1)
    np.testing.assert_allclose(read(stereo, 8000)[0], 0.3, atol=1e-7)
    np.testing.assert_allclose(read(torch.from_numpy(stereo), 8000)[0], 0.3, atol=1e-7)


@pytest.mark.parametrize(
    ("source", "rate", "message"),
    [
        (np.zeros(100), None, "needs its rate"),
        (np.zeros(100), 16000.5, "whole sample_rate_hz"),
        (np.zeros(100), True, "whole sample_rate_hz"),
        (np.zeros((2, 16000)), 16000, "transpose"),
        (np.zeros((2, 3, 4)), 16000, "received 2x3x4"),
        (np.zeros((5, 0)), 16000, "received 5x0"),
        (np.array(1.0), 16000, r"\[samples\]"),
        (np.zeros(10, complex), 16000, "complex128"),
        (np.zeros(10, bool), 16000, "bool"),
        ([0.0, 0.1], 16000, "received list"),
        (3, None, "received int"),
        (None, None, "received NoneType"),
    ],
)
def test_objects_that_are_no_recording(source: object, rate: object, message: str) -> None:
    with pytest.raises(ItemTypeError, match=message):
        read(source, rate)


def test_a_rate_that_contradicts_the_file() -> None:
    data = encoded(sine(16_000), 16_000)
    assert read(data, 16_000)[1] == 16_000
    with pytest.raises(DecodeError, match="the file has 16000 Hz, sample_rate_hz says 8000"):
        read(data, 8_000)


def test_too_long_a_recording() -> None:
    assert len(read(np.zeros(16_000), 16_000, max_duration_s=1.0)[0]) == 16_000
    with pytest.raises(TooLargeError, match="limit of 1 s"):
        read(np.zeros(16_001), 16_000, max_duration_s=1.0)

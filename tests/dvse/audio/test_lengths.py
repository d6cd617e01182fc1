"""The length of a recording is what decodes; FFmpeg and sox are the judges where they are there."""

import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dvse.audio.containers import survey
from dvse.audio.decoding import opened
from dvse.errors import DecodeError
from dvse.items import Audio

DATA = Path(__file__).parent / "data"
TOLERANCE_S = 0.1
needs_programs = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("sox")), reason="needs ffmpeg and sox"
)


def length_s(data: bytes) -> float:
    with opened(Audio(data), max_duration_s=1e6) as recording:
        return sum(map(len, recording.blocks)) / recording.sample_rate_hz


@pytest.mark.parametrize(
    ("name", "expected_s"),
    [
        ("vbr_noxing_16000.mp3", 2.34),
        ("abr_noxing_16000.mp3", 2.34),
        ("cat_vbr.mp3", 4.1),
        ("chained.ogg", 4.0),
        ("chained.opus", 4.0),
        ("junk_front.mp3", 2.1),
    ],
)
def test_headers_that_guess_and_joined_files(name: str, expected_s: float) -> None:
    assert length_s((DATA / name).read_bytes()) == pytest.approx(expected_s, abs=TOLERANCE_S)


def test_a_path_and_its_bytes_give_the_same_samples() -> None:
    for path in sorted(DATA.iterdir()):
        with opened(Audio(path), max_duration_s=1e6) as a:
            from_path = np.concatenate(list(a.blocks))
        with opened(Audio(path.read_bytes()), max_duration_s=1e6) as b:
            assert np.array_equal(from_path, np.concatenate(list(b.blocks)))


def made(kind: str, subtype: str, rate_hz: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    samples = 0.3 * np.sin(np.arange(2 * rate_hz) * 0.05)
    soundfile.write(buffer, samples, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_tag_of_2_mb_two_tags_and_junk_in_front_of_mp3(rate_hz: int) -> None:
    data = made("MP3", "MPEG_LAYER_III", rate_hz)
    tag = b"ID3\x04\0\0" + bytes([1, 0, 0, 0]) + bytes(2 << 20)
    for front in (tag, tag + tag, bytes(3000), b"\xff" * 70, b"\xff\xe0" * 33):
        assert length_s(front + data) == pytest.approx(2.0, abs=TOLERANCE_S), front[:4]
    assert length_s(data + b"TAG" + bytes(125)) == pytest.approx(2.0, abs=TOLERANCE_S)
    tagged = data + b"TAG" + bytes(125) + tag + data
    assert length_s(tagged) == pytest.approx(4.0, abs=2 * TOLERANCE_S)


def test_tags_change_no_sample() -> None:
    data = made("MP3", "MPEG_LAYER_III")
    with opened(Audio(data), max_duration_s=9) as plain:
        expected = np.concatenate(list(plain.blocks))
    tag = b"ID3\x04\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
    with opened(Audio(tag + data), max_duration_s=9) as tagged:
        assert np.array_equal(np.concatenate(list(tagged.blocks)), expected)


def test_a_stream_without_sizes() -> None:
    wav = bytearray(made("WAV", "PCM_16"))
    wav[4:8] = wav[40:44] = bytes(4)
    au = bytearray(made("AU", "PCM_16"))
    au[8:12] = bytes(4)
    flac = bytearray(made("FLAC", "PCM_16"))
    flac[22:26] = bytes(4)
    for data in (wav, au, flac):
        assert length_s(bytes(data)) == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "W64", "CAF", "NIST", "SVX"])
def test_what_cannot_be_joined_is_refused(kind: str) -> None:
    data = made(kind, "PCM_16")
    with pytest.raises(DecodeError, match="a second recording follows"):
        length_s(data + data)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
def test_joined_streams_are_read_to_the_end(kind: str, subtype: str) -> None:
    data = made(kind, subtype)
    # Each MP3 keeps the silence that its encoder pads with, as FFmpeg keeps it in joined files.
    assert length_s(data * 3) == pytest.approx(6.0, abs=3 * TOLERANCE_S)


@pytest.mark.parametrize("stated", [0, (1 << 63) - 1, (1 << 64) - 1])
def test_wave64_from_a_pipe_goes_to_its_end(stated: int) -> None:
    data = bytearray(made("W64", "PCM_16"))
    place = data.index(b"data\xf3\xac") + 16
    data[16:24] = data[place : place + 8] = stated.to_bytes(8, "little")
    assert length_s(bytes(data)) == pytest.approx(2.0)


def test_streams_of_two_rates_are_refused() -> None:
    for kind, subtype in (("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("FLAC", "PCM_16")):
        with pytest.raises(DecodeError, match="joined"):
            length_s(made(kind, subtype) + made(kind, subtype, 24_000))


_FFMPEG = {
    "wav": "", "aiff": "", "au": "", "w64": "", "caf": "", "flac": "", "ogg": "", "opus": "",
    "mp2": "", "mp3": "-q:a 4", "cbr.mp3": "-b:a 64k -write_xing 0", "voc": "", "aac": "",
    "vbr.mp3": "-q:a 0 -write_xing 0 -id3v2_version 0", "m4a": "", "alac.m4a": "-c:a alac",
    "webm": "-c:a libopus", "mka": "-c:a libvorbis", "opus.mp4": "-c:a libopus", "wma": "",
    "ac3": "", "wv": "-c:a wavpack", "tta": "-c:a tta", "24.wav": "-c:a pcm_s24le",
    "adpcm.wav": "-c:a adpcm_ms", "mp3.wav": "-c:a libmp3lame", "alac.caf": "-c:a alac",
}  # fmt: skip
_SOX = ("wav", "aiff", "aifc", "au", "w64", "caf", "flac", "ogg", "voc", "nist", "8svx", "avr",
        "htk", "gsm", "amr-nb", "maud", "sox")  # fmt: skip
_PIPED = ("wav", "w64", "au", "flac", "ogg", "opus", "asf", "matroska", "webm", "mp3", "adts",
          "nut", "voc", "rm", "tta", "wv")  # fmt: skip
"""What FFmpeg writes where it cannot go back to fill in the sizes."""


def box(kind: bytes, size: int) -> bytes:
    return struct.pack(">I4s", size, kind) + bytes(size - 8)


MP4 = box(b"ftyp", 16) + box(b"moov", 40) + box(b"mdat", 100)
TTA = struct.pack("<4sHHHIII", b"TTA1", 1, 1, 16, 8000, 16_000, 0) + struct.pack("<2I", 50, 40)
TTA += bytes(4 + 90) + b"APETAGEX"
MAUD = b"FORM" + struct.pack(">I", 100) + b"MAUDMDAT" + struct.pack(">I", 88) + bytes(88)
SOX = struct.pack("<4sIQdII", b".SoX", 28, 50, 8000.0, 1, 0) + bytes(200)
AVI = b"RIFF" + struct.pack("<I", 92) + b"AVI " + bytes(88)


@pytest.mark.parametrize("data", [MP4, TTA, MAUD, SOX, AVI])
def test_structures_that_ffmpeg_does_not_hold_against_the_file(data: bytes) -> None:
    assert survey(io.BytesIO(data)).problem is None
    if data in (MP4, TTA):
        assert "a second recording" in str(survey(io.BytesIO(data + data)).problem)
    if data is not MP4:  # FFmpeg asks what its boxes say
        assert "truncated" in str(survey(io.BytesIO(data[:-20])).problem)


@needs_programs
@pytest.mark.slow
@pytest.mark.parametrize("name", ["f.m4a", "f.alac.m4a", "f.opus.mp4", "f.tta"])
def test_what_ffmpeg_would_read_the_first_of_is_refused(zoo: dict[str, bytes], name: str) -> None:
    if name not in zoo:
        pytest.skip("not made by the installed FFmpeg")
    assert length_s(zoo[name]) == pytest.approx(2.0, abs=TOLERANCE_S)
    with pytest.raises(DecodeError, match="a second recording follows"):
        length_s(zoo[name] * 2)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One file of each container and codec that the installed programs make."""
    folder = tmp_path_factory.mktemp("zoo")
    tone = folder / "tone.wav"
    tone.write_bytes(made("WAV", "PCM_16", 44_100))
    found = {}
    for ending, options in _FFMPEG.items():
        path = folder / f"f.{ending}"
        command = ["ffmpeg", "-v", "error", "-y", "-i", tone, *options.split(), path]
        if subprocess.run(command, capture_output=True).returncode == 0:
            found[path.name] = path.read_bytes()
    for ending in _SOX:
        path = folder / f"s.{ending}"
        if subprocess.run(["sox", tone, path], capture_output=True).returncode == 0:
            found[path.name] = path.read_bytes()
    for kind in _PIPED:
        command = ["ffmpeg", "-v", "error", "-i", tone, "-f", kind, "-"]
        if piped := subprocess.run(command, capture_output=True).stdout:
            found[f"piped.{kind}"] = piped
    # soundfile has no NIST of 32 bits to read, FFmpeg has: sox writes it of float samples.
    path = folder / "s.32.nist"
    if subprocess.run(["sox", tone, "-b", "32", path], capture_output=True).returncode == 0:
        found[path.name] = path.read_bytes()
    return found


def judged_s(path: Path) -> float:
    ffmpeg = ["ffmpeg", "-v", "error", "-i", path, "-f", "s16le", "-ac", "1", "-ar", "8000", "-"]
    sox = ["sox", path, "-t", "s16", "-c", "1", "-r", "8000", "-"]
    for command in (ffmpeg, sox):
        out = subprocess.run(command, capture_output=True).stdout
        if out:
            return len(out) / 16_000
    return 0.0


@needs_programs
@pytest.mark.slow
@pytest.mark.parametrize("change", ["whole", "joined", "cut", "tagged"])
def test_every_container_and_codec(zoo: dict[str, bytes], tmp_path: Path, change: str) -> None:
    """The judge's length, or a refusal; whole files are refused only where the extra is missing."""
    pytest.importorskip("av")
    assert len(zoo) > 30
    wrong = {}
    for name, whole in zoo.items():
        data = {
            "whole": whole,
            "joined": whole + whole,
            "cut": whole[: len(whole) * 11 // 20],
            "tagged": b"ID3\x04\0\0\0\0\x7f\x7f" + bytes(16_383) + whole,
        }[change]
        path = tmp_path / name
        path.write_bytes(data)
        expected_s = 4.0 if change == "joined" and name.endswith("flac") else judged_s(path)
        try:
            received_s = length_s(data)
        except DecodeError as error:
            if change == "whole":
                wrong[name] = str(error)
            continue
        is_known = change != "tagged" or expected_s > 0  # the judges do not know every tagged kind
        if is_known and abs(received_s - expected_s) > TOLERANCE_S:
            wrong[name] = f"{received_s} instead of {expected_s}"
    assert not wrong


@pytest.mark.parametrize("share", [2, 10])
def test_a_flac_that_is_cut_and_then_joined_is_no_recording(share: int) -> None:
    """Where the next one begins it is not looked for before the first could have ended."""
    buffer = io.BytesIO()
    noise = 0.3 * np.random.default_rng(0).standard_normal(80_000)
    soundfile.write(buffer, noise, 16_000, format="FLAC")
    data = buffer.getvalue()
    assert length_s(data + data + data) == 15.0
    with pytest.raises(DecodeError, match="damaged"):
        length_s(data[: len(data) // share] + data + data)


def test_an_mp3_as_long_as_its_header_says_is_whole_and_any_other_is_counted() -> None:
    data = made("MP3", "MPEG_LAYER_III")
    tag = b"TAG" + bytes(125)
    lame = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)
    for whole in (data, data + tag, lame + data, lame + data + tag):
        assert length_s(whole) == pytest.approx(2.0, abs=TOLERANCE_S)
    for joined in (data + data, data + tag + data, lame + data + lame + data):
        assert length_s(joined) == pytest.approx(4.0, abs=2 * TOLERANCE_S)
    with pytest.raises(DecodeError, match="truncated"):
        length_s(data[: len(data) // 2])

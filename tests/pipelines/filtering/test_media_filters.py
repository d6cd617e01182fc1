"""Filters on sound and pictures: scores by hand, one decoding for all, offline weights."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image as PilImage

from dvse.errors import ConfigError, DecodeError, MissingExtraError
from dvse.items import Audio, Image, Text
from pipelines.filtering.filters import read_filters
from pipelines.filtering.gate import Gate
from pipelines.filtering.near_pictures import NearDuplicatePictures
from pipelines.filtering.picture import ResolutionFilter
from pipelines.filtering.sound import FLOOR_DBFS, LoudnessFilter, SilenceFilter
from pipelines.filtering.voice import VoiceFilter
from pipelines.sources.loading import Loaded
from pipelines.speech.espeak import Espeak

RATE = 8000


def examined(gate, *items):
    loaded = Loaded(id="i", source="s", sha256="ab" * 32, text="caption")
    found = list(gate.examine(loaded, items))
    assert found[:-1] == [None] * (len(found) - 1)
    return found[-1]


def sine(level, seconds=1.0, hz=400):
    return level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)


def sound(samples):
    return Audio(np.asarray(samples, dtype=np.float32), sample_rate_hz=RATE)


def picture(pixels, **options):
    file = io.BytesIO()
    PilImage.fromarray(np.asarray(pixels, dtype=np.uint8)).save(file, **options)
    return Image(file.getvalue())


def scene(seed, side=96):
    """Soft blobs: what a perceptual hash is made for."""
    rng = np.random.default_rng(seed)
    small = PilImage.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize((side, side), PilImage.Resampling.BICUBIC))


def test_loudness_of_a_sine_is_its_amplitude_less_3_decibels():
    gate = Gate(filters=(LoudnessFilter(least_dbfs=-30.0),))
    # Amplitude 0.1 is -20 dB, the root mean square of a sine 3.01 dB lower.
    assert examined(gate, sound(sine(0.1))).refusal is None
    found = examined(gate, sound(sine(0.01)))
    assert (found.filter, found.modality) == ("loudness", "audio")
    assert found.refusal.score == pytest.approx(-43.01, abs=0.01)
    assert found.refusal.reason == "a level of -43.01 dBFS, at least -30 dBFS wanted"
    assert examined(gate, sound(np.zeros(RATE))).refusal.score == FLOOR_DBFS


def test_loudness_does_not_depend_on_how_a_file_is_cut_into_blocks():
    rng = np.random.default_rng(0)
    samples = (0.001 * rng.standard_normal(700_000)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    gate = Gate(filters=(LoudnessFilter(least_dbfs=-1.0),))
    expected = 10 * np.log10(np.mean(samples.astype(np.float64) ** 2))
    assert examined(gate, Audio(file.getvalue())).refusal.score == pytest.approx(expected, abs=0.01)


def test_silence_share_counts_frames_of_20_ms():
    # 30 of 100 frames hold a sine, the others nothing; the last 100 samples are no whole frame.
    samples = np.concatenate([sine(0.5, 0.6), np.zeros(int(1.4 * RATE) + 100)])
    found = examined(Gate(filters=(SilenceFilter(most_share=0.6),)), sound(samples))
    assert found.refusal.score == pytest.approx(0.7)
    assert "70.0% of it is silence (below -50 dBFS)" in found.refusal.reason
    assert examined(Gate(filters=(SilenceFilter(most_share=0.7),)), sound(samples)).refusal is None
    click = examined(Gate(filters=(SilenceFilter(),)), sound(np.zeros(50)))
    assert click.refusal.score == 1.0


def test_the_first_filter_of_the_file_that_refuses_counts_whatever_listens_first():
    quiet = sound(np.zeros(RATE))
    loud, silent = LoudnessFilter(least_dbfs=-30.0), SilenceFilter()
    assert examined(Gate(filters=(loud, silent)), quiet).filter == "loudness"
    assert examined(Gate(filters=(silent, loud)), quiet).filter == "silence"


def test_voice_activity_hears_speech_and_no_tone(spoken):
    pytest.importorskip("silero_vad")
    gate = Gate(filters=(VoiceFilter(least_share=0.2),))
    assert examined(gate, Audio(spoken)).refusal is None
    found = examined(gate, sound(sine(0.3, 2.0)))
    assert found.filter == "voice"
    assert found.refusal.score < 0.05
    assert "at least 20.0% wanted" in found.refusal.reason
    # A recording does not hear the one before it.
    assert examined(gate, Audio(spoken)) == examined(gate, Audio(spoken))


@pytest.fixture(scope="module")
def spoken():
    try:
        speech = Espeak().speak("the quick brown fox jumps over the lazy dog", voice="en")
    except MissingExtraError as error:
        pytest.skip(str(error))
    file = io.BytesIO()
    soundfile.write(file, speech.samples, speech.sample_rate_hz, format="WAV")
    return file.getvalue()


def test_a_long_recording_gives_signs_of_life():
    gate = Gate(filters=(SilenceFilter(),))
    loaded = Loaded(id="i", source="s", sha256="x")
    found = list(gate.examine(loaded, [sound(np.zeros(130 * RATE))]))
    assert found[:-1] == [None, None]


def test_resolution_and_aspect_are_read_off_the_header():
    gate = Gate(filters=(ResolutionFilter(least_side=64, most_aspect=2.0),))
    small = examined(gate, picture(np.zeros((40, 100, 3)), format="PNG"))
    assert small.refusal.reason == "a shorter side of 40 pixels, at least 64 pixels wanted"
    wide = examined(gate, picture(np.zeros((100, 250, 3)), format="PNG"))
    assert wide.refusal.score == 2.5
    assert examined(gate, picture(np.zeros((64, 128, 3)), format="PNG")).refusal is None
    with pytest.raises(DecodeError, match="expected a picture"):
        examined(gate, Image(b"no picture at all"))


def test_a_row_of_several_is_refused_for_one_of_them_and_texts_are_left_alone():
    gate = Gate(filters=(ResolutionFilter(least_side=64), LoudnessFilter(least_dbfs=-40.0)))
    big = picture(np.zeros((64, 64, 3)), format="PNG")
    small = picture(np.zeros((8, 64, 3)), format="PNG")
    found = examined(gate, Text("before"), big, small)
    assert (found.filter, found.modality, found.refusal.score) == ("resolution", "mixed", 8)
    assert examined(gate, Text("only words")).modality == "text"


def test_marks_of_pictures_that_are_nearly_the_same_are_near():
    pytest.importorskip("imagehash")
    kind = NearDuplicatePictures(most_bits=6)
    gate = Gate(markers=(kind,))
    original = examined(gate, picture(scene(1), format="PNG")).marks[kind.name]
    assert len(original) == 16
    same = picture(scene(1, 240), format="JPEG", quality=60)
    other = picture(scene(2), format="PNG")
    marks = [examined(gate, item).marks[kind.name] for item in (same, other)]
    distances = [(int(original, 16) ^ int(mark, 16)).bit_count() for mark in marks]
    assert distances[0] <= 6 < distances[1]
    row = {"id": "first", "marks": {kind.name: original}}
    assert kind.judge(row) is None
    kind.take(row)
    refusal = kind.judge({"id": "again", "marks": {kind.name: marks[0]}})
    assert refusal.score == distances[0]
    assert refusal.reason.endswith("bits of its hash differ from first")
    assert kind.judge({"id": "other", "marks": {kind.name: marks[1]}}) is None
    assert kind.judge({"id": "a text", "marks": {}}) is None
    assert examined(gate, Text("x")).marks == {}


@pytest.mark.parametrize("most_bits", [0, 1, 4, 15])
def test_near_hashes_are_found_as_a_comparison_with_all_finds_them(most_bits):
    pytest.importorskip("imagehash")
    rng = np.random.default_rng(most_bits)
    kind = NearDuplicatePictures(most_bits=most_bits)
    kept = []
    for number in range(300):
        mark = int.from_bytes(rng.bytes(8), "big")
        if kept and number % 2:
            mark = kept[rng.integers(len(kept))][1]
            for bit in rng.choice(64, rng.integers(0, 2 * most_bits + 2), replace=False):
                mark ^= 1 << int(bit)
        near = [((mark ^ other).bit_count(), n) for n, (_, other) in enumerate(kept)]
        expected = min((pair for pair in near if pair[0] <= most_bits), default=None)
        row = {"id": str(number), "marks": {kind.name: f"{mark:016x}"}}
        found = kind.judge(row)
        assert (found is None) == (expected is None)
        if expected is None:
            kind.take(row)
            kept.append((number, mark))
        else:
            assert found.score == expected[0]
            assert found.reason.endswith(f"from {kept[expected[1]][0]}")


def test_filters_from_a_file_go_to_workers_without_what_they_remember(tmp_path):
    pytest.importorskip("imagehash")
    import pickle

    path = tmp_path / "f.toml"
    path.write_text(
        "[near_duplicate_pictures]\nmost_bits = 2\n[silence]\n[resolution]\nleast_side = 8\n"
    )
    filters = read_filters(path)
    filters.filters[0].take({"id": "a", "marks": {"near_duplicate_pictures": "0" * 16}})
    gate = pickle.loads(pickle.dumps(filters.gate()))
    assert [kind.name for kind in gate.filters] == ["silence", "resolution"]
    assert (
        gate.markers[0].judge({"id": "b", "marks": {"near_duplicate_pictures": "0" * 16}}) is None
    )
    assert filters.needs_media == ["near_duplicate_pictures", "silence", "resolution"]
    assert filters.identity()[0] == ["near_duplicate_pictures", {"most_bits": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loudness]", r"\[loudness\]: expected least_dbfs, it has no default"),
        ("[loudness]\nleast_dbfs = 3", "between -120 and 0"),
        ("[loudness]\nleast_dbfs = 'loud'", "as float, received 'loud'"),
        ("[silence]\nmost_share = 1", "below 1"),
        ("[resolution]", "expected bounds"),
        ("[near_duplicate_pictures]\nmost_bits = 40", "0..15"),
        ("[language]\nallowed = []", "received none"),
        ("[language]\nallowed = ['xx']", r"received \['xx'\]"),
        ("[voice]\nthreshold = 1.5", "expected least_share and threshold"),
    ],
)
def test_settings_out_of_range_name_file_filter_and_key(text, message, tmp_path):
    pytest.importorskip("imagehash")
    pytest.importorskip("py3langid")
    pytest.importorskip("silero_vad")
    path = tmp_path / "f.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_filters(path)
    assert str(path) in str(error.value)

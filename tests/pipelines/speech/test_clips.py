"""Splits that never leak, and synthetic speech whose labels say when things are said."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dvse.errors import ConfigError, MissingExtraError, TrainingError
from pipelines.speech.clips import digit_paths, load_digits, resampled, synthesize_words
from pipelines.speech.espeak import Espeak, _initialized_library
from pipelines.speech.phones import DIGIT_PHONES, PHONES, phone_index
from pipelines.speech.word_lists import DIGIT_WORDS, HELD_OUT_WORDS, TRAINING_WORDS


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    try:
        return Espeak()
    except MissingExtraError:
        pytest.skip("espeak-ng is not installed")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    rows = []
    for speaker in ("george", "lucas"):
        for index in range(4, 11):
            name = f"7_{speaker}_{index}.wav"
            soundfile.write(tmp_path / name, np.full(800, index / 100), 8_000)
            rows.append({"audio_filepath": name, "text": "seven", "speaker": speaker})
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_splits(digits: Path) -> None:
    names = {
        split: [path.stem for path, _, _ in digit_paths(digits, split)]
        for split in ("train", "known", "unknown")
    }
    assert names["train"] == ["7_george_10", "7_george_4"]
    assert names["known"] == [f"7_george_{i}" for i in range(5, 10)]
    assert len(names["unknown"]) == 7
    assert all("lucas" in name for name in names["unknown"])


def test_digits_are_read_at_the_rate_that_is_asked_for(digits: Path) -> None:
    clips = load_digits(digits, "train", sample_rate_hz=16_000)
    assert [(len(clip.samples), clip.digits, clip.speaker) for clip in clips] == [
        (1600, [7], "george")
    ] * 2


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"expected the Free Spoken Digit Dataset"):
        digit_paths(tmp_path, "train")
    (tmp_path / "manifest.jsonl").write_text('{"audio_filepath": "x.wav", "text": "ten"}')
    with pytest.raises(TrainingError, match="line 1 cannot be read"):
        digit_paths(tmp_path, "train")
    (tmp_path / "manifest.jsonl").write_text("")
    with pytest.raises(TrainingError, match="found none"):
        digit_paths(tmp_path, "train")


def test_held_out_words_are_in_no_training_text() -> None:
    assert len(set(HELD_OUT_WORDS)) == 50
    assert len(set(TRAINING_WORDS)) == len(TRAINING_WORDS)
    assert not set(HELD_OUT_WORDS) & (set(TRAINING_WORDS) | set(DIGIT_WORDS))
    endings = ("s", "es", "d", "ed", "er", "ing", "ly", "y")
    for word in HELD_OUT_WORDS:
        assert not {word + ending for ending in endings} & set(TRAINING_WORDS)


def test_words_and_phones_are_where_espeak_says(espeak: Espeak) -> None:
    speech = espeak.speak("seven apple", voice="gmw/en-US")
    assert [word.label for word in speech.words] == ["seven", "apple"]
    assert [phone.label for phone in speech.phones][:5] == ["s", "ɛ", "v", "ə", "n"]
    starts = [phone.start_s for phone in speech.phones]
    assert starts == sorted(starts)
    assert starts[-1] < len(speech.samples) / speech.sample_rate_hz
    # [s] is noise in the upper band, the vowel after it is not.
    rate = speech.sample_rate_hz
    first, second = (speech.samples[int(s * rate) :][: rate // 20] for s in starts[:2])
    high = [
        np.abs(np.fft.rfft(x))[200:].sum() / np.abs(np.fft.rfft(x)).sum() for x in (first, second)
    ]
    assert high[0] > high[1] + 0.2
    with pytest.raises(ConfigError, match="no voice 'gmw/nowhere'"):
        espeak.speak("seven", voice="gmw/nowhere")


def test_synthetic_speech_repeats_and_is_varied(espeak: Espeak) -> None:
    def clips() -> list:
        return list(synthesize_words(hours=0.004, sample_rate_hz=8_000, seed=3))

    first, second = clips(), clips()
    assert len(first) > 2
    for one, other in zip(first, second, strict=True):
        # The texts and voices are the same; the library's own jitter goes on from call to call, and
        # so does whether a pause stands at the end.
        assert one.speaker == other.speaker
        spoken = [[word for word in clip.words if word.label] for clip in (one, other)]
        assert [w.label for w in spoken[0]] == [w.label for w in spoken[1]]
        starts = [[word.start_s for word in words] for words in spoken]
        np.testing.assert_allclose(*starts, atol=0.05)
    assert len({clip.speaker for clip in first}) > 2
    allowed = set(TRAINING_WORDS) | set(DIGIT_WORDS)
    said = {word.label for clip in first for word in clip.words if word.label}
    assert said and said <= allowed
    assert sum(len(clip.samples) for clip in first) / 8_000 > 0.004 * 3600


def test_a_machine_without_espeak_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    monkeypatch.setattr(
        "pipelines.speech.espeak._initialized_library", _initialized_library.__wrapped__
    )
    with pytest.raises(MissingExtraError, match="apt-get install espeak-ng"):
        Espeak()


def test_phones_of_digits_are_classes() -> None:
    assert len(set(PHONES)) == len(PHONES)
    for phones in DIGIT_PHONES:
        assert all(phone_index(phone) > 0 for phone in phones)
    assert phone_index("əʊ") == phone_index("oʊ") > 0
    assert phone_index("?!") == 0


def test_resampling_keeps_seconds() -> None:
    assert len(resampled(np.zeros(22_050, np.float32), 22_050, 8_000)) == 8_000

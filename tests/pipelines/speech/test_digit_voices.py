"""Digits of synthesizers as clips: every voice says all ten, without silence around them."""

from collections import Counter

import numpy as np
import pytest

from pipelines.speech import digit_voices, flite
from pipelines.speech.espeak import Speech
from pipelines.speech.word_lists import DIGIT_WORDS


def spoken(text, **how):
    """A word of 0.1 s for each of its letters, in half a second of silence, at 16 kHz."""
    samples = np.zeros(8000 + 1600 * len(text), np.float32)
    samples[4000:-4000] = 0.5
    return Speech(samples=samples, sample_rate_hz=16_000, phones=(), words=())


def test_voices_that_are_installed_say_all_digits(monkeypatch):
    monkeypatch.setattr(flite, "is_installed", lambda: True)
    monkeypatch.setattr(flite, "speak", spoken)
    monkeypatch.setattr(digit_voices.festival, "installed_voices", lambda: ("kal_diphone",))
    monkeypatch.setattr(digit_voices.festival, "speak", spoken)
    voices = digit_voices.cut_voices(np.random.default_rng(0), rate_hz=8000, times=3)
    assert set(voices) == {f"flite-{v}" for v in flite.VOICES} | {"festival-kal_diphone"}
    for name, clips in voices.items():
        assert Counter(clip.words[0].label for clip in clips) == dict.fromkeys(DIGIT_WORDS, 3)
        assert {clip.speaker for clip in clips} == {name}
        for clip in clips:
            assert len(clip.samples) == pytest.approx(800 * len(clip.words[0].label), abs=40)


def test_no_voice_where_nothing_is_installed(monkeypatch):
    monkeypatch.setattr(flite, "is_installed", lambda: False)
    monkeypatch.setattr(digit_voices.festival, "installed_voices", lambda: ())
    assert digit_voices.cut_voices(np.random.default_rng(0), rate_hz=8000) == {}

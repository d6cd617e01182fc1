"""Joined clips: the samples lie where the words say."""

from itertools import pairwise

import numpy as np
import pytest

from pipelines.speech.clips import Clip
from pipelines.speech.espeak import SILENCE, Span
from pipelines.speech.joining import digit_sequence, join, stretch
from pipelines.speech.word_lists import DIGIT_WORDS

RATE_HZ = 1000


def clip(level: float, *words: str, phones: str = "") -> Clip:
    """Return half a second at one level, its words and phones evenly spread."""
    return Clip(
        samples=np.full(500, level, np.float32),
        words=tuple(Span(start_s=i / 4, label=word) for i, word in enumerate(words)),
        phones=tuple(Span(start_s=i / 10, label=phone) for i, phone in enumerate(phones)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_words_lie_where_their_samples_are(seed):
    joined = join([clip(1, "a", "b"), clip(2, "c")], np.random.default_rng(seed), rate_hz=RATE_HZ)
    assert [span.label for span in joined.words] == ["", "a", "b", "", "c", ""]
    times_s = [span.start_s for span in joined.words] + [len(joined.samples) / RATE_HZ]
    levels = {"": 0, "a": 1, "b": 1, "c": 2}
    for span, (start_s, stop_s) in zip(joined.words, pairwise(times_s), strict=True):
        samples = joined.samples[round(start_s * RATE_HZ) : round(stop_s * RATE_HZ)]
        assert np.allclose(samples, levels[span.label], atol=0.02)
    before, between, after = (times_s[i + 1] - times_s[i] for i in (0, 3, 5))
    assert 0 <= before <= 0.3 and 0.08 - 2 / RATE_HZ <= between <= 0.6 and 0 <= after <= 0.3


def test_phones_come_along_only_if_all_are_known():
    rng = np.random.default_rng(0)
    known = join([clip(1, "a", phones="xy"), clip(1, "b", phones="z")], rng, rate_hz=RATE_HZ)
    assert [span.label for span in known.phones] == [SILENCE, *"xy", SILENCE, "z", SILENCE]
    assert known.phones[2].start_s - known.phones[1].start_s == pytest.approx(0.1)
    assert join([clip(1, "a", phones="xy"), clip(1, "b")], rng, rate_hz=RATE_HZ).phones == ()


def test_sequences_have_two_to_six_digits_of_uneven_loudness():
    digits = [clip(1, word) for word in DIGIT_WORDS]
    lengths, peaks = set(), set()
    for seed in range(30):
        found = digit_sequence(digits, np.random.default_rng(seed), rate_hz=RATE_HZ)
        lengths.add(sum(bool(span.label) for span in found.words))
        peaks.add(round(float(found.samples.max()), 3))
    assert lengths == {2, 3, 4, 5, 6}
    assert min(peaks) >= 0.5 and max(peaks) <= 1 and len(peaks) > 10


def test_a_stretch_keeps_words_where_their_samples_are():
    long = clip(1, "a", phones="xy")
    assert stretch(long, np.random.default_rng(0), most_s=0.5, rate_hz=RATE_HZ) is long
    ramp = Clip(
        samples=np.arange(500, dtype=np.float32),
        words=(Span(start_s=0.0, label="a"), Span(start_s=0.4, label="b")),
        phones=(Span(start_s=0.1, label="x"),),
    )
    starts = set()
    for seed in range(40):
        found = stretch(ramp, np.random.default_rng(seed), most_s=0.2, rate_hz=RATE_HZ)
        start_s = found.samples[0] / RATE_HZ
        starts.add(start_s)
        assert np.array_equal(found.samples, found.samples[0] + np.arange(200))
        assert [span.label for span in found.words] == ["a", "b"]
        assert found.words[1].start_s == pytest.approx(0.4 - start_s)
        assert found.phones[0].start_s == pytest.approx(0.1 - start_s)
    assert min(starts) < 0.05 and max(starts) > 0.25

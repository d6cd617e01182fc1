"""Odd recordings: in range, apart on both sides, and without a word that sounds like a digit."""

import numpy as np
import pytest
import soundfile

from pipelines.speech.joining import LONG_EDGE_S
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.tiny.conversations.odd_recordings import RATE_HZ, load_odd_recordings

NO_FILES = "/nowhere"


@pytest.fixture
def stamps(tmp_path):
    for i in range(30):
        tone = np.sin(np.arange(16000) * (0.05 + 0.01 * i))
        for suffix in ("", "_desc_fr", "_desc_ru"):
            soundfile.write(tmp_path / f"thing{i}{suffix}.ogg", tone, 16000)
    return tmp_path


@pytest.mark.parametrize("is_held_out", [False, True])
@pytest.mark.parametrize("kind", ["music", "noise"])
def test_sounds_are_in_range_and_alike_by_seed(tmp_path, kind, is_held_out):
    odd = load_odd_recordings(is_held_out=is_held_out, stamps=tmp_path)
    for seed in range(30):
        one, again = (odd.draw(np.random.default_rng(seed), kind=kind) for _ in range(2))
        assert one.dtype == np.float32 and np.array_equal(one, again)
        assert np.isfinite(one).all() and np.abs(one).max(initial=0) <= 0.951
        assert 0.2 * RATE_HZ <= len(one) <= (5 + 2 * LONG_EDGE_S[1] + 0.1) * RATE_HZ


def test_the_recordings_of_one_stamp_are_on_one_side(stamps):
    sides = [load_odd_recordings(is_held_out=h, stamps=stamps).sounds for h in (False, True)]
    stems = [{path.stem.split("_desc")[0] for path in side} for side in sides]
    assert not stems[0] & stems[1] and len(sides[0]) + len(sides[1]) == 90
    sound = load_odd_recordings(stamps=stamps).draw(np.random.default_rng(0), kind="captions")
    assert RATE_HZ * 0.8 < len(sound) < RATE_HZ * 2


def test_words_and_voices_are_apart_and_no_digit_is_among_them(tmp_path):
    trained, tested = (
        load_odd_recordings(is_held_out=held_out, stamps=tmp_path) for held_out in (False, True)
    )
    assert not set(trained.words) & set(tested.words)
    assert not set(trained.voices) & set(tested.voices)
    assert not {voice for voice, _ in trained.foreign} & {voice for voice, _ in tested.foreign}
    for side in (trained, tested):
        assert not set(side.words) & {*DIGIT_WORDS, "for", "to", "won", "ate"}

"""Pairs of codes: nothing is lost, ids of codes stay, runs are what is frequent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvse.errors import ConfigError, IdRangeError, TrainingError
from pipelines.codebooks.code_pairs import CodePairs

RNG = np.random.default_rng(0)


def phrases(count, num_codes=50):
    """Sequences of a few fixed words of four codes with noise between them."""
    words = [[1, 1, 2, 3], [7, 8, 9, 9], [20, 21, 20, 22]]
    found = []
    for _ in range(count):
        parts = [p for _ in range(20) for p in (words[RNG.integers(3)], [RNG.integers(num_codes)])]
        found.append(np.concatenate(parts))
    return found


@pytest.fixture(scope="module")
def pairs():
    return CodePairs.learn(phrases(60), num_codes=50, num_runs=20)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 49), max_size=80))
def test_nothing_is_lost_whatever_the_codes(pairs, codes):
    ids = pairs.encode(np.array(codes, dtype=np.int64))
    assert len(ids) <= len(codes)
    assert pairs.decode(ids).tolist() == codes


def test_the_words_of_the_sequences_become_one_id_each(pairs):
    assert len(pairs.runs) == 20
    for word in ((1, 1, 2, 3), (7, 8, 9, 9), (20, 21, 20, 22)):
        assert word in pairs.runs
        (id,) = pairs.encode(np.array(word)).tolist()
        assert pairs.runs[id - 50] == word
    # Ids of codes are the codes: what is appended moves none.
    assert pairs.encode(np.array([49])).tolist() == [49]
    assert pairs.size == 70


def test_codes_that_were_never_seen_have_an_id():
    pairs = CodePairs.learn([np.array([0, 1] * 50)] * 4, num_codes=3000, num_runs=2)
    codes = np.array([2999, 0, 1, 0, 1, 1500])
    ids = pairs.encode(codes)
    assert pairs.decode(ids).tolist() == codes.tolist()
    assert ids[0] == 2999 and ids[-1] == 1500 and len(ids) < 6


def test_the_same_sequences_give_the_same_runs():
    some = phrases(20)
    again = [CodePairs.learn(some, num_codes=50, num_runs=12) for _ in range(2)]
    assert again[0].runs == again[1].runs and again[0].model == again[1].model


def test_wrong_numbers_are_refused(pairs):
    with pytest.raises(IdRangeError, match=r"codes in 0\.\.49, received 50\.\.50"):
        pairs.encode(np.array([50]))
    with pytest.raises(IdRangeError, match=r"ids in 0\.\.69, received -1\.\.-1"):
        pairs.decode(np.array([-1]))
    with pytest.raises(ConfigError, match=r"received 70000 and 4"):
        CodePairs.learn([np.array([1])], num_codes=70_000, num_runs=4)
    with pytest.raises(TrainingError, match="received none"):
        CodePairs.learn([], num_codes=4, num_runs=4)

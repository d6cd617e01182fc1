"""Runs that are learnt: what is frequent, in the order of its frequency, and more of them later."""

import numpy as np
import pytest

from dvse.code_runs import CodeRuns
from dvse.errors import ConfigError, TrainingError
from pipelines.codebooks.run_learning import learn_runs

NONE = CodeRuns(num_codes=50, runs=[])
WORDS = [(1, 1, 2, 3), (7, 8, 9, 9), (20, 21, 20, 22)]


def phrases(count, words=WORDS):
    """Sequences of a few fixed words of four codes with noise between them."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        parts = [p for _ in range(20) for p in (words[rng.integers(3)], [rng.integers(50)])]
        found.append(np.concatenate(parts))
    return found


@pytest.fixture(scope="module")
def learnt():
    return learn_runs(phrases(60), known=NONE, num_runs=20)


def test_the_words_of_the_sequences_become_one_id_each(learnt):
    assert len(learnt) == 20 and learnt.size == 70
    for word in WORDS:
        assert word in learnt.runs and len(learnt.encode(word)) == 1


def test_codes_that_were_never_seen_stay_what_they_are():
    seen = [np.array([0, 1] * 50)] * 4
    runs = learn_runs(seen, known=CodeRuns(num_codes=3000, runs=[]), num_runs=2)
    symbols = runs.encode(np.array([2999, 0, 1, 0, 1, 1500]))
    assert symbols[0] == 2999 and symbols[-1] == 1500 and len(symbols) < 6


def test_the_same_sequences_give_the_same_runs(learnt):
    assert learn_runs(phrases(60), known=NONE, num_runs=20).runs == learnt.runs


def test_learning_on_keeps_every_run_in_its_place(learnt):
    words = [(30, 31, 32, 33), *WORDS[:2]]
    more = learn_runs(phrases(60, words), known=learnt, num_runs=10)
    assert more.runs[:20] == learnt.runs and 20 < len(more) <= 30
    assert (30, 31, 32, 33) in more.runs
    old, new = (sum(map(len, map(r.encode, phrases(60, words)))) for r in (learnt, more))
    assert new < old


def test_wrong_numbers_are_refused():
    with pytest.raises(ConfigError, match=r"received 70000 and 4"):
        learn_runs([np.array([1])], known=CodeRuns(num_codes=70_000, runs=[]), num_runs=4)
    with pytest.raises(TrainingError, match="received none"):
        learn_runs([], known=NONE, num_runs=4)

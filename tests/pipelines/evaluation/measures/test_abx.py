import itertools

import numpy as np
import pytest

from dvse.errors import TrainingError
from pipelines.evaluation.measures.abx import Triple, _warped, abx_error, draw_triples


def one_if_different(a, b):
    return (a[:, None] != b[None]).astype(float)


def test_warping_by_hand():
    # 1 1 2 against 1 2 2: every frame finds its like, cost 0. Against 3: three differences / (3+1).
    a, b, c = np.array([1, 1, 2]), np.array([1, 2, 2]), np.array([3])
    tables = [one_if_different(a, b), one_if_different(a, c)]
    assert _warped(tables).tolist() == [0.0, 0.75]


def test_warping_against_every_path():
    rng = np.random.default_rng(0)
    table = rng.random((4, 3))

    def best(i, j):
        if (i, j) == (0, 0):
            return table[0, 0]
        before = [(i - 1, j), (i, j - 1), (i - 1, j - 1)]
        return table[i, j] + min(best(*p) for p in before if min(p) >= 0)

    assert _warped([table, table[:2]])[0] == pytest.approx(best(3, 2) / 7, rel=1e-5)


def test_error_counts_ties_half():
    words = [np.array([1, 2]), np.array([1, 2]), np.array([5, 6]), np.array([1, 2])]
    right, tie, wrong = Triple(a=0, b=2, x=1), Triple(a=0, b=3, x=1), Triple(a=2, b=3, x=1)
    assert abx_error(words, [right], one_if_different) == 0.0
    assert abx_error(words, [tie], one_if_different) == 0.5
    assert abx_error(words, [wrong], one_if_different) == 1.0
    assert abx_error(words, [right, tie, wrong], one_if_different) == 0.5


def test_triples_cross_speakers():
    words, speakers = zip(*itertools.product("abc", "123"), strict=True)
    triples = draw_triples(words, speakers, num_triples=60)
    assert len(triples) == 60
    for t in triples:
        assert words[t.a] == words[t.x] != words[t.b]
        assert speakers[t.a] == speakers[t.b] != speakers[t.x]
    pairs = {(words[t.a], words[t.b]) for t in triples}
    assert len(pairs) == 6


def test_one_speaker_is_compared_with_himself():
    triples = draw_triples("aabb", "1111", num_triples=4)
    assert all(t.a != t.x for t in triples)
    with pytest.raises(TrainingError, match="two words"):
        draw_triples("ab", "11", num_triples=4)

"""Runs of codes: joined as SentencePiece joins its pieces, nothing lost, final when they say so."""

from itertools import pairwise

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from dvse.code_runs import CodeRuns
from dvse.errors import IdRangeError, VocabularyError

NUM_CODES = 6

codes_of_recording = st.lists(st.integers(0, NUM_CODES - 1), max_size=60)
tables = st.lists(
    st.lists(st.integers(0, NUM_CODES - 1), min_size=2, max_size=5).map(tuple),
    unique=True,
    max_size=12,
).map(lambda runs: CodeRuns(num_codes=NUM_CODES, runs=runs))


def slow_encode(runs, codes):
    """Byte pair encoding as its definition says: the earliest run, the leftmost place, again."""
    parts = [(code,) for code in codes]
    while True:
        joined = [
            (runs.runs.index(a + b), place)
            for place, (a, b) in enumerate(pairwise(parts))
            if a + b in runs.runs
        ]
        if not joined:
            symbols = {run: NUM_CODES + n for n, run in enumerate(runs.runs)}
            return [symbols[part] if len(part) > 1 else part[0] for part in parts]
        _, place = min(joined)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


@settings(max_examples=200, deadline=None)
@given(tables, codes_of_recording)
def test_nothing_is_lost_and_the_definition_is_met(runs, codes):
    symbols = runs.encode(codes)
    assert runs.decode(symbols).tolist() == codes
    assert symbols.tolist() == slow_encode(runs, codes)
    assert runs.lengths[symbols].sum() == len(codes)


@settings(max_examples=100, deadline=None)
@given(tables, codes_of_recording, codes_of_recording)
def test_what_is_final_does_not_change_whatever_follows(runs, codes, rest):
    final = runs.num_final(np.array(codes, dtype=np.int64))
    first = runs.encode(codes[:final])
    whole = runs.encode([*codes, *rest])
    assert whole[: len(first)].tolist() == first.tolist()
    assert runs.encode([*codes[final:], *rest]).tolist() == whole[len(first) :].tolist()


def test_by_hand():
    # 1 2 3 could be (1 2) 3 or 1 (2 3): the run that was learnt first is joined first.
    runs = CodeRuns(num_codes=5, runs=[(2, 3), (1, 2), (2, 3, 2, 3)])
    assert runs.encode([1, 2, 3]).tolist() == [1, 5]
    assert runs.encode([1, 2, 4, 2, 3, 2, 3]).tolist() == [6, 4, 7]
    assert runs.encode([2, 3, 2, 3, 2, 3]).tolist() == [7, 5]  # the leftmost first
    assert runs.encode([]).tolist() == [] and runs.decode([]).tolist() == []
    assert runs.decode([7, 0, 6]).tolist() == [2, 3, 2, 3, 0, 1, 2]
    # 3 and 1 stand side by side in no run; 1 and 2 do.
    assert runs.num_final(np.array([2, 3, 1, 2])) == 2
    assert runs.size == 8 and runs.lengths.tolist() == [1, 1, 1, 1, 1, 2, 2, 4]


def test_wrong_codes_and_runs_are_refused():
    runs = CodeRuns(num_codes=5, runs=[(2, 3)])
    with pytest.raises(IdRangeError, match=r"codes in 0\.\.4, received 5\.\.5"):
        runs.encode([5])
    with pytest.raises(IdRangeError, match=r"symbols in 0\.\.5, received -1\.\.-1"):
        runs.decode([-1])
    for wrong, reason in (([(1,)], r"at least two codes in 0\.\.4, received \[1\]"),
                          ([(1, 5)], r"run 0: .*received \[1, 5\]"),
                          ([(1, 2), (1, 2)], "twice")):  # fmt: skip
        with pytest.raises(VocabularyError, match=reason):
            CodeRuns(num_codes=5, runs=wrong)


def test_sentencepiece_is_the_same_program():
    """The oracle is its C++ code with a model of the same pieces, trained on random walks."""
    from pipelines.codebooks.run_learning import pieces_of, string_of, train_model

    rng = np.random.default_rng(0)
    walks = [np.cumsum(rng.integers(-1, 2, 400)) % 40 for _ in range(60)]
    model = train_model(walks, 40, 200)
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    pieces = pieces_of(model)
    runs = CodeRuns(num_codes=40, runs=[piece for piece in pieces if len(piece) > 1])
    assert len(runs) == 200
    for _ in range(50):
        codes = np.cumsum(rng.integers(-1, 2, 300)) % 40
        theirs = [pieces[i] for i in processor.EncodeAsIds(string_of(codes))]
        ours = [runs.decode([symbol]).tolist() for symbol in runs.encode(codes)]
        assert ours == [list(piece) for piece in theirs]

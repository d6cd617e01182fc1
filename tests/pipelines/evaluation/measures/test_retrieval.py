"""Retrieval on states that are made to find each other, or not."""

import numpy as np

from pipelines.evaluation.measures.retrieval import retrieval_figures

LABELS = [str(n % 10) for n in range(300)]
MEANINGS = np.eye(16, dtype=np.float32)[[n % 10 for n in range(300)]]


def test_kinds_that_agree_find_each_other_across_a_gap():
    rng = np.random.default_rng(0)
    queries = MEANINGS + 0.1 * rng.standard_normal(MEANINGS.shape)
    gap = np.zeros(16)
    gap[15] = 50.0
    figures = retrieval_figures(queries, 3 * MEANINGS + gap, LABELS, LABELS)
    assert figures["queries"] == 300
    assert figures["among"] == 100
    assert figures["recall_at_1"] == 1
    assert 0.08 < figures["chance"] < 0.14


def test_noise_finds_what_chance_finds():
    rng = np.random.default_rng(0)
    queries, candidates = rng.standard_normal((2, 300, 16)).astype(np.float32)
    figures = retrieval_figures(queries, candidates, LABELS, LABELS)
    assert abs(figures["recall_at_1"] - figures["chance"]) < 0.06
    assert figures["recall_at_5"] > figures["recall_at_1"]


def test_labels_that_do_not_meet():
    figures = retrieval_figures(MEANINGS, MEANINGS, LABELS, ["x"] * 300)
    assert figures == {"queries": 0, "among": 100}


def test_few_candidates_are_all_met():
    figures = retrieval_figures(MEANINGS[:4], MEANINGS[:4], LABELS[:4], LABELS[:4])
    assert figures["among"] == 4
    assert figures["recall_at_1"] == 1
    assert figures["chance"] == 0.25

"""How well two kinds of items find each other among 100 by their pooled states.

A candidate counts as found when it has the query's label. Each kind's mean is taken off first:
pictures, recordings and texts lie in narrow cones of their own (Liang et al. 2022, "Mind the
gap"), and without it every query finds the same few candidates.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

AMONG = 100


def retrieval_figures(
    queries: np.ndarray,
    candidates: np.ndarray,
    query_labels: Sequence[str],
    candidate_labels: Sequence[str],
    *,
    among: int = AMONG,
) -> dict[str, Any]:
    """Return the share of queries whose nearest candidates have their label.

    Each query meets `among` candidates, drawn anew (with a fixed seed) for each query, one of
    them at least with its label; `chance` is what a draw without looking would find first.

    Args:
        queries, candidates: `float32 [n, dim]` and `[m, dim]`.
        query_labels, candidate_labels: `n` and `m`.
        among: candidates that a query meets, at most `m`.

    Returns:
        `queries`, `among`, `recall_at_1`, `recall_at_5`, `chance`.
    """
    queries, candidates = _directions(queries), _directions(candidates)
    wanted, offered = np.asarray(query_labels), np.asarray(candidate_labels)
    rng = np.random.default_rng(0)
    among = min(among, len(candidates))
    first, five, chance = [], [], []
    for state, label in zip(queries, wanted, strict=True):
        partners = np.flatnonzero(offered == label)
        if not len(partners):
            continue
        partner = rng.choice(partners)
        others = np.delete(np.arange(len(offered)), partner)
        met = np.append(rng.choice(others, among - 1, replace=False), partner)
        is_right = offered[met] == label
        order = np.argsort(-(candidates[met] @ state), kind="stable")
        first.append(is_right[order[0]])
        five.append(is_right[order[:5]].any())
        chance.append(is_right.mean())
    if not first:
        return {"queries": 0, "among": among}
    return {
        "queries": len(first),
        "among": among,
        "recall_at_1": round(float(np.mean(first)), 4),
        "recall_at_5": round(float(np.mean(five)), 4),
        "chance": round(float(np.mean(chance)), 4),
    }


def _directions(states: np.ndarray) -> np.ndarray:
    centred = states - states.mean(axis=0, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)

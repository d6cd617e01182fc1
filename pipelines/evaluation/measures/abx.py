"""Same/different ABX over words, the error with which the units of two words are told apart.

A and X are the same word, B another; A and B are said by one speaker, X by another. The triple is
right where X is nearer to A than to B. Schatz et al. 2013, "Evaluating speech features with the
Minimal-Pair ABX task"; the distance is dynamic time warping over frames, divided by the length of
both.

*Deviations:* triples are drawn at random, the same number for each pair of words, instead of all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dvse.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Triple:
    """Positions of A, B and X."""

    a: int
    b: int
    x: int


def draw_triples(
    words: Sequence[str], speakers: Sequence[str], *, num_triples: int, seed: int = 0
) -> list[Triple]:
    """Return triples across speakers, or within one where there is only one.

    Raises:
        TrainingError: no word is said twice, or there is one word only.
    """
    rng = np.random.default_rng(seed)
    said: dict[str, dict[str, list[int]]] = {}
    for position, (word, speaker) in enumerate(zip(words, speakers, strict=True)):
        said.setdefault(word, {}).setdefault(speaker, []).append(position)
    vocabulary = sorted(said)
    pairs = [(w, v) for w in vocabulary for v in vocabulary if w != v]
    triples: list[Triple] = []
    for number in rng.permutation(len(pairs) * -(-num_triples // max(len(pairs), 1))):
        word, other = pairs[number % len(pairs)]
        shared = sorted(said[word].keys() & said[other].keys())
        if not shared:
            continue
        speaker = shared[rng.integers(len(shared))]
        others = sorted(said[word].keys() - {speaker})
        pool = said[word][others[rng.integers(len(others))]] if others else said[word][speaker]
        a = int(rng.choice(said[word][speaker]))
        pool = [x for x in pool if x != a]
        if pool:
            triples.append(
                Triple(a=a, b=int(rng.choice(said[other][speaker])), x=int(rng.choice(pool)))
            )
        if len(triples) == num_triples:
            break
    if not triples:
        raise TrainingError("ABX needs two words, and each of them said at least twice")
    return triples


def abx_error(
    sequences: Sequence[np.ndarray],
    triples: Sequence[Triple],
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> float:
    """Return the share of triples that are wrong, ties counted half; 0.5 is chance.

    Args:
        sequences: an array of frames for each word.
        distance: frame distances `[n, m]` of two arrays of `n` and `m` frames.
    """
    to_a = _warped([distance(sequences[t.x], sequences[t.a]) for t in triples])
    to_b = _warped([distance(sequences[t.x], sequences[t.b]) for t in triples])
    return float(np.mean(np.where(to_a == to_b, 0.5, to_a > to_b)))


def _warped(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Return the DTW distance of each table of frame distances, all computed side by side."""
    heights = np.array([table.shape[0] for table in tables])
    widths = np.array([table.shape[1] for table in tables])
    cost = np.full((len(tables), heights.max() + 1, widths.max() + 1), np.inf, np.float32)
    padded = np.zeros((len(tables), heights.max(), widths.max()), np.float32)
    for number, table in enumerate(tables):
        padded[number, : table.shape[0], : table.shape[1]] = table
    cost[:, 0, 0] = 0
    for i in range(heights.max()):
        for j in range(widths.max()):
            best = np.minimum(cost[:, i, j + 1], cost[:, i + 1, j])
            cost[:, i + 1, j + 1] = padded[:, i, j] + np.minimum(best, cost[:, i, j])
    ends = cost[np.arange(len(tables)), heights, widths]
    return ends / (heights + widths)

"""Which rows a pass over a part of the features reads: one out of each group of neighbours.

Stratified, because frames of one recording lie side by side; drawn anew in each group, because
features of pictures repeat with the width of the grid; and by a hash of the group's number, so
that any process can say which rows are its own.
"""

import numpy as np


def stratified_rows(start: int, stop: int, *, group: int, seed: int, turn: int = 0) -> np.ndarray:
    """Return the chosen positions among `start` … `stop`-1, ascending `int64`.

    All positions fall into groups `[i * group, (i + 1) * group)`; one of each is chosen. The
    choices of adjoining ranges together are the choice of the whole, and the turns 0 … group-1
    together choose every row once.

    >>> whole = stratified_rows(0, 40, group=4, seed=1)
    >>> parts = [stratified_rows(0, 18, group=4, seed=1), stratified_rows(18, 40, group=4, seed=1)]
    >>> len(whole), bool((whole == np.concatenate(parts)).all())
    (10, True)
    """
    if group == 1:
        return np.arange(start, stop, dtype=np.int64)
    groups = np.arange(start // group, -(-stop // group), dtype=np.uint64)
    place = (_hash(groups, seed) + np.uint64(turn)) % np.uint64(group)
    rows = (groups * np.uint64(group) + place).astype(np.int64)
    return rows[(rows >= start) & (rows < stop)]


def _hash(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return SplitMix64 of the numbers (Steele, Lea & Flood 2014), keyed by the seed."""
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(seed % 2**63 + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31))) >> np.uint64(1)

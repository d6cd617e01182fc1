"""Merging of repeated units: a run of equal codes becomes one code with its length.

As in textless speech models (Lakhotia et al. 2021, "On Generative Spoken Language Modeling from
Raw Audio", section 3), but nothing is lost: `expand` undoes it.
"""

from typing import NamedTuple

import numpy as np

from dvse.errors import IdRangeError


class Merged(NamedTuple):
    """Codes `int32 [n, num_levels]` and how many frames each lasts, `int32 [n]` (`None`: one)."""

    codes: np.ndarray
    durations: np.ndarray | None


def merge_repeats(codes: np.ndarray) -> Merged:
    """Merge runs of frames whose codes are equal on every level.

    >>> merged = merge_repeats(np.array([[5], [5], [7], [5]], dtype=np.int32))
    >>> merged.codes.tolist(), merged.durations.tolist()
    ([[5], [7], [5]], [2, 1, 1])
    """
    if not len(codes):
        return Merged(codes, np.zeros(0, np.int32))
    begins = np.flatnonzero(np.r_[True, (codes[1:] != codes[:-1]).any(axis=1)])
    durations = np.diff(np.r_[begins, len(codes)]).astype(np.int32)
    return Merged(codes[begins], durations)


def expand(merged: Merged) -> np.ndarray:
    """Return the codes of every frame, `int32 [frames, num_levels]`.

    Raises:
        IdRangeError: durations below 1, or not one for each code.

    >>> expand(Merged(np.array([[5], [7]]), np.array([2, 1]))).tolist()
    [[5], [5], [7]]
    """
    if merged.durations is None:
        return merged.codes
    if merged.durations.shape != merged.codes.shape[:1] or (merged.durations < 1).any():
        raise IdRangeError(
            f"expected a duration of at least 1 for each of {len(merged.codes)} units, received "
            f"{merged.durations.tolist()[:8]}"
        )
    return np.repeat(merged.codes, merged.durations, axis=0)

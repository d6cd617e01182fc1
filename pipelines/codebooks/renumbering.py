"""New codes under the numbers of the old ones that they stand for.

Codes that are learnt again come out in any order. Where most frames of an old code have become one
new code, that takes the old one's number, so that a decoder which knows the old ones has less to
learn anew. The assignment is the one with the most frames in common (Kuhn 1955, "The Hungarian
method").
"""

import numpy as np


def renumber(old: np.ndarray, new: np.ndarray, num_codes: int) -> np.ndarray:
    """Return for each number the new code that gets it, `int64 [num_codes]`.

    Args:
        old, new: `int64 [n]`, codes of the same frames.
        num_codes: of both.

    >>> renumber(np.array([0, 0, 1, 2]), np.array([2, 2, 0, 1]), 3).tolist()
    [2, 0, 1]
    """
    from scipy.optimize import linear_sum_assignment

    together = np.zeros((num_codes, num_codes), np.int64)
    np.add.at(together, (old, new), 1)
    return np.asarray(linear_sum_assignment(together, maximize=True)[1], np.int64)

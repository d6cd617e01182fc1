"""Dynamic time warping of many pairs side by side, divided by the length of the path.

The path goes back from the end: diagonally where that is not dearer than both others, else along
the second sequence where that is not dearer than the first (libri-light's and fastabx's choice, on
which the length depends where paths cost the same).
"""

import numpy as np


def path_normalized(costs: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the mean cost along each best path, `float32 [pairs]`.

    Args:
        costs: `float32 [pairs, most_n, most_m]`, distances of frames; what is beyond a pair's own
            height and width does not matter.
        heights, widths: `int [pairs]`, at least 1.

    >>> costs = np.array([[[0.0, 1.0], [1.0, 0.5]]], np.float32)
    >>> path_normalized(costs, np.array([2]), np.array([2])).tolist()
    [0.25]
    """
    pairs, most_n, most_m = costs.shape
    total = np.empty_like(costs)
    steps = np.empty(costs.shape, np.int32)
    total[:, 0, 0], steps[:, 0, 0] = costs[:, 0, 0], 1
    for i in range(1, most_n):
        total[:, i, 0], steps[:, i, 0] = costs[:, i, 0] + total[:, i - 1, 0], i + 1
    for j in range(1, most_m):
        total[:, 0, j], steps[:, 0, j] = costs[:, 0, j] + total[:, 0, j - 1], j + 1
    for i in range(1, most_n):
        for j in range(1, most_m):
            up, left, across = total[:, i - 1, j], total[:, i, j - 1], total[:, i - 1, j - 1]
            total[:, i, j] = costs[:, i, j] + np.minimum(np.minimum(up, across), left)
            is_across = (across <= left) & (across <= up)
            behind = np.where(left <= up, steps[:, i, j - 1], steps[:, i - 1, j])
            steps[:, i, j] = 1 + np.where(is_across, steps[:, i - 1, j - 1], behind)
    ends = np.arange(pairs), heights - 1, widths - 1
    return total[ends] / steps[ends].astype(np.float32)

"""Which part of a mixture each window comes from, by weights alone.

The first part takes its share of the windows, evenly spread; the second its share of those that are
left, and so on (Bresenham's line, once a part). So after any number of windows each part has had
its share up to fewer windows than there are parts, and both directions are a formula: nobody has
to count from the beginning. Whole numbers only, so nothing is rounded on the way.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np

from dvse.errors import ConfigError

_MOST_WEIGHT = 10**8  # times twice the windows of any training this stays below 2^63


class Schedule:
    """The parts of the windows from 0 on, without end.

    Args:
        weights: of each part, above 0; they need not add up to anything.

    Raises:
        ConfigError: no weights, or one that is not above 0.

    >>> schedule = Schedule([3, 1])
    >>> schedule.places(np.arange(8))[0].tolist()
    [0, 0, 1, 0, 0, 0, 1, 0]
    """

    def __init__(self, weights: Sequence[float | Fraction]) -> None:
        if not weights or not all(0 < weight < float("inf") for weight in weights):
            raise ConfigError(f"expected shares above 0, received {[float(w) for w in weights]}")
        self.weights = _whole(weights)
        # For each part but the last: its weight, and that of all parts from it on.
        rest = np.cumsum(self.weights[::-1])[::-1].tolist()
        self._levels = list(zip(self.weights[:-1], rest[:-1], strict=True))

    def places(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for each window its part and its number among the windows of that part."""
        part = np.full(len(windows), len(self.weights) - 1)
        number = np.array(windows, dtype=np.int64)
        is_open = np.ones(len(windows), dtype=bool)
        for level, (weight, total) in enumerate(self._levels):
            taken = _taken(number, weight, total)
            is_here = is_open & (_taken(number + 1, weight, total) > taken)
            part[is_here] = level
            number = np.where(is_here, taken, np.where(is_open, number - taken, number))
            is_open &= ~is_here
        return part, number

    def counts(self, num_windows: int) -> list[int]:
        """Return how many of the first windows come from each part."""
        found, left = [], num_windows
        for weight, total in self._levels:
            taken = int(_taken(np.array([left]), weight, total)[0])
            found.append(taken)
            left -= taken
        return [*found, left]

    def window(self, part: int, numbers: np.ndarray) -> np.ndarray:
        """Return the windows with these numbers among those of a part: `places` the other way."""
        windows = np.array(numbers, dtype=np.int64)
        if part < len(self._levels):
            weight, total = self._levels[part]
            windows = -(-total * (2 * windows + 1) // (2 * weight)) - 1
        for weight, total in reversed(self._levels[:part]):
            windows = total * (2 * windows + 1) // (2 * (total - weight))
        return windows


def _taken(count: np.ndarray, weight: int, total: int) -> np.ndarray:
    """How many of the first `count` are taken: `count · weight / total`, rounded."""
    return (2 * count * weight + total) // (2 * total)


def _whole(weights: Sequence[float | Fraction]) -> list[int]:
    """Small whole numbers in the same proportion: 0.7 and 0.3 become 7 and 3."""
    exact = [w if isinstance(w, Fraction) else Fraction(str(w)) for w in weights]
    scale = lcm(*(w.denominator for w in exact))
    whole = [int(w * scale) for w in exact]
    if sum(whole) > _MOST_WEIGHT:
        whole = [max(1, round(_MOST_WEIGHT * w / sum(whole))) for w in whole]
    return whole

"""Runs of codes that have an id of their own: byte pair encoding over codes. Nothing is lost.

    symbol 0 … K-1        the codes themselves
    symbol K … K+M-1      runs of codes, those that were learnt first coming first

Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units"; over speech
units: Chang et al. 2023, "Exploration of Efficient End-to-End ASR using Discretized Input from
Self-Supervised Learning", section 2.3. *Deviation*: repeats need not be taken out before.

Neighbours whose codes together are a run are joined, the earliest run first and, of equal ones, the
leftmost: what SentencePiece's BPE does with its pieces. Where runs come from is not known here.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

from dvse.errors import IdRangeError, VocabularyError


class CodeRuns:
    """A list of runs, in the order in which they were learnt.

    Args:
        num_codes: codes there are (K).
        runs: each of at least two codes in 0 … K-1.

    Raises:
        VocabularyError: a run of fewer codes or of others, or one that is there twice.

    >>> runs = CodeRuns(num_codes=5, runs=[(3, 1), (3, 1, 4)])
    >>> runs.encode([3, 1, 4, 0, 3, 1, 3]).tolist()
    [6, 0, 5, 3]
    >>> runs.decode([6, 0, 5, 3]).tolist()
    [3, 1, 4, 0, 3, 1, 3]
    """

    def __init__(self, *, num_codes: int, runs: Iterable[Sequence[int]]) -> None:
        self.num_codes = num_codes
        self.runs = tuple(tuple(int(code) for code in run) for run in runs)
        for number, run in enumerate(self.runs):
            if len(run) < 2 or not (0 <= min(run) and max(run) < num_codes):
                raise VocabularyError(
                    f"run {number}: expected at least two codes in 0..{num_codes - 1}, received "
                    f"{list(run)}"
                )
        if len(set(self.runs)) < len(self.runs):
            raise VocabularyError("expected runs of codes that differ, received one of them twice")

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def size(self) -> int:
        """Symbols in all: codes and runs."""
        return self.num_codes + len(self.runs)

    def encode(self, codes: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the symbols, int64 `[m]` with m ≤ n, of codes `[n]`.

        Raises:
            IdRangeError: a code outside 0 … num_codes-1.
        """
        codes = _checked(codes, self.num_codes, "codes")
        found: list[int] = []
        for stretch in np.split(codes, self._seams(codes)):
            found += self._joined(stretch.tolist())
        return np.array(found, dtype=np.int64)

    def decode(self, symbols: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the codes, int64 `[n]`, that symbols `[m]` stand for.

        Raises:
            IdRangeError: a symbol outside 0 … size-1.
        """
        symbols = _checked(symbols, self.size, "symbols")
        flat, starts = self._codes
        lengths = self.lengths[symbols]
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return flat[np.repeat(starts[symbols], lengths) + within]

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many codes each symbol stands for, int64 `[size]`."""
        return np.array([1] * self.num_codes + [len(run) for run in self.runs], dtype=np.int64)

    def num_final(self, codes: np.ndarray) -> int:
        """Return how many of the first codes have symbols that nothing behind can change.

        A stretch is final when no run holds its last code and the next one side by side.
        """
        seams = self._seams(codes)
        return int(seams[-1]) if len(seams) else 0

    def _seams(self, codes: np.ndarray) -> np.ndarray:
        """Places between two codes that no run joins."""
        neighbours = codes[:-1] * self.num_codes + codes[1:]
        return np.flatnonzero(~np.isin(neighbours, self._neighbours)) + 1

    def _joined(self, symbols: list[int]) -> list[int]:
        """Join neighbours until nothing can be joined: a heap of what can be, as (run, place)."""
        joins = self._joins
        if len(symbols) < 2:
            return symbols
        end = len(symbols)
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))
        heap = [
            (joins[pair], place) for place, pair in enumerate(pairwise(symbols)) if pair in joins
        ]
        heapify(heap)
        while heap:
            run, left = heappop(heap)
            right = after[left]
            if right == end or joins.get((symbols[left], symbols[right])) != run:
                continue  # one of the two was joined with another neighbour meanwhile
            symbols[left], symbols[right] = run, -1
            after[left] = after[right]
            if after[left] < end:
                before[after[left]] = left
            for first in (before[left], left):
                if first >= 0 and after[first] < end:
                    pair = symbols[first], symbols[after[first]]
                    if pair in joins:
                        heappush(heap, (joins[pair], first))
        return [symbol for symbol in symbols if symbol >= 0]

    @cached_property
    def _joins(self) -> dict[tuple[int, int], int]:
        """Two symbols → the run that their codes make together."""
        symbols: dict[tuple[int, ...], int] = {(code,): code for code in range(self.num_codes)}
        symbols |= {run: self.num_codes + number for number, run in enumerate(self.runs)}
        return {
            (symbols[run[:cut]], symbols[run[cut:]]): symbols[run]
            for run in self.runs
            for cut in range(1, len(run))
            if run[:cut] in symbols and run[cut:] in symbols
        }

    @cached_property
    def _neighbours(self) -> np.ndarray:
        """Codes that stand side by side in a run, `first * num_codes + second`, sorted."""
        pairs = {a * self.num_codes + b for run in self.runs for a, b in pairwise(run)}
        return np.array(sorted(pairs), dtype=np.int64)

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        """The codes of all symbols one behind the other, and where each begins."""
        flat = [*range(self.num_codes), *(code for run in self.runs for code in run)]
        return np.array(flat, dtype=np.int64), np.cumsum(self.lengths) - self.lengths


def _checked(values: Sequence[int] | np.ndarray, stop: int, what: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.int64)
    if len(array) and not (0 <= array.min() and array.max() < stop):
        raise IdRangeError(
            f"expected {what} in 0..{stop - 1}, received {array.min()}..{array.max()}"
        )
    return array

"""How much shorter sequences of codes become where runs of them are one id each."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from dvse.code_runs import CodeRuns


def run_figures(
    runs: CodeRuns, sequences: Iterable[np.ndarray], *, seconds: float | None = None
) -> dict[str, Any]:
    """Return the figures of runs over sequences of codes.

    Args:
        runs: the runs.
        sequences: each int `[n]`.
        seconds: how long they last together, where that is known.

    Returns:
        `runs`, and how many of them `in_use`; `codes_per_id`, the shortening; `ids_per_s`;
        `round_trip_failures`, sequences that decoding does not give back.

    >>> runs = CodeRuns(num_codes=9, runs=[(1, 2), (1, 2, 3), (7, 7)])
    >>> run_figures(runs, [np.array([1, 2, 3, 0, 1, 2, 3, 8])], seconds=2.0)
    {'runs': 3, 'in_use': 1, 'codes_per_id': 2.0, 'round_trip_failures': 0, 'ids_per_s': 2.0}
    """
    num_codes = num_symbols = failures = 0
    is_used = np.zeros(runs.size, dtype=bool)
    for codes in sequences:
        symbols = runs.encode(codes)
        failures += not np.array_equal(runs.decode(symbols), codes)
        is_used[symbols] = True
        num_codes += len(codes)
        num_symbols += len(symbols)
    return {
        "runs": len(runs),
        "in_use": int(is_used[runs.num_codes :].sum()),
        "codes_per_id": round(num_codes / max(num_symbols, 1), 3),
        "round_trip_failures": failures,
        **({"ids_per_s": round(num_symbols / seconds, 2)} if seconds else {}),
    }

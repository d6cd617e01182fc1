"""How a codebook is used: share, perplexity, dead and duplicate codes, by level."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pipelines.near_duplicates import num_duplicates


@dataclass(frozen=True, kw_only=True)
class LevelUsage:
    """Use of one level.

    Attributes:
        num_codes: codes there are.
        share_used: share of them that occur, 0 … 1.
        num_dead: codes that never occur.
        perplexity: exp of the entropy of the codes, 1 … num_codes.
        num_duplicates: codes nearer to another one than a tenth of the median distance of all
            pairs; `None` where the codebook has no centroids.
        counts: `int64 [num_codes]`, most used first.
    """

    num_codes: int
    share_used: float
    num_dead: int
    perplexity: float
    num_duplicates: int | None
    counts: np.ndarray


def level_usage(codes: np.ndarray, num_codes: int, centroids: Tensor | None = None) -> LevelUsage:
    """Count the codes `[n]` of one level.

    >>> usage = level_usage(np.array([0, 0, 1, 1]), 4)
    >>> usage.share_used, usage.num_dead, round(usage.perplexity, 6)
    (0.5, 2, 2.0)
    """
    counts = np.bincount(np.asarray(codes).reshape(-1), minlength=num_codes)
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    return LevelUsage(
        num_codes=num_codes,
        share_used=float((counts > 0).mean()),
        num_dead=int((counts == 0).sum()),
        perplexity=float(np.exp(-(shares * np.log(shares)).sum())),
        num_duplicates=None if centroids is None else num_duplicates(centroids),
        counts=np.sort(counts)[::-1],
    )


def usage_figures(usage: LevelUsage) -> dict[str, Any]:
    """Return the JSON form of a level's use."""
    return {
        "num_codes": usage.num_codes,
        "share_used": round(usage.share_used, 4),
        "num_dead": usage.num_dead,
        "perplexity": round(usage.perplexity, 1),
        "num_duplicates": usage.num_duplicates,
    }

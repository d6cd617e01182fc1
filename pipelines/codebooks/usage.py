"""How a codebook is used: share, perplexity, dead and duplicate codes. The one yardstick for it.

Perplexity is exp(H), H the entropy (natural logarithm) of the codes as counted: 1 where one code
does all the work, the number of codes where all occur equally often.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pipelines.codebooks.near_duplicates import num_duplicates


@dataclass(frozen=True, kw_only=True, eq=False)
class CodebookUsage:
    """Use of one level of a codebook.

    Attributes:
        counts: `int64 [num_codes]`, how often each code was seen.
        num_duplicates: codes nearer to another one than a tenth of the median distance of all
            pairs; `None` where nobody looked, or the codebook has no centroids.
    """

    counts: np.ndarray
    num_duplicates: int | None = None

    @property
    def num_codes(self) -> int:
        """Codes there are."""
        return len(self.counts)

    @property
    def num_seen(self) -> int:
        """Positions that were looked at: what a share of few of them says is little."""
        return int(self.counts.sum())

    @property
    def num_dead(self) -> int:
        """Codes that never occur."""
        return int((self.counts == 0).sum())

    @property
    def share_used(self) -> float:
        """Share of the codes that occur, 0 … 1."""
        return float((self.counts > 0).mean())

    @property
    def perplexity(self) -> float:
        """Exponential of the codes' entropy, 1 … `num_codes`."""
        shares = self.counts[self.counts > 0] / max(self.num_seen, 1)
        return float(np.exp(-(shares * np.log(shares)).sum()))

    @property
    def ranked(self) -> np.ndarray:
        """Counts with the most used code first, `int64 [num_codes]`."""
        return np.sort(self.counts)[::-1]

    def figures(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "num_codes": self.num_codes,
            "num_seen": self.num_seen,
            "num_seen_a_code": round(self.num_seen / self.num_codes, 1),
            "share_used": round(self.share_used, 4),
            "num_dead": self.num_dead,
            "perplexity": round(self.perplexity, 1),
            "num_duplicates": self.num_duplicates,
        }


def count_codes(
    codes: np.ndarray | Sequence[int], num_codes: int, *, centroids: Tensor | None = None
) -> CodebookUsage:
    """Count the codes `[...]` (0 … num_codes-1) of one level.

    Args:
        centroids: `float [num_codes, D]`, to look for duplicates as well.

    >>> usage = count_codes([0, 0, 1, 1], 4)
    >>> usage.share_used, usage.num_dead, round(usage.perplexity, 6), usage.num_seen
    (0.5, 2, 2.0, 4)
    """
    return CodebookUsage(
        counts=np.bincount(np.asarray(codes).reshape(-1), minlength=num_codes),
        num_duplicates=None if centroids is None else num_duplicates(centroids),
    )

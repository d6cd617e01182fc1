"""A filter on streams that say nearly nothing: silence, a blank page, a broken encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dvse.errors import ConfigError
from pipelines.filtering.row_filter import Refusal, RowFilter


@dataclass(frozen=True, kw_only=True)
class MonotonyFilter(RowFilter):
    """A bound on the share of a row's most frequent id.

    Attributes:
        most: share, above 0 and at most 1.
        least_ids: shorter rows pass.
    """

    name: ClassVar[str] = "monotony"
    columns: ClassVar[tuple[str, ...]] = ("ids",)
    most: float = 0.9
    least_ids: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.most <= 1:
            raise ConfigError(f"[{self.name}]: expected most in 0..1, received {self.most}")

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Count the ids."""
        ids = np.asarray(row["ids"])
        if len(ids) < max(self.least_ids, 1):
            return None
        values, counts = np.unique(ids, return_counts=True)
        share = float(counts.max() / len(ids))
        if share <= self.most:
            return None
        return Refusal(
            reason=f"{share:.1%} of its ids are {values[counts.argmax()]}, at most "
            f"{self.most:.1%} wanted",
            score=share,
        )

"""A filter on streams that say nearly nothing: silence, a blank page, a broken encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dvse.errors import ConfigError
from pipelines.filtering.row_filter import Refusal, RowFilter
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class MonotonyFilter(RowFilter):
    """A bound on the share of a row's most frequent id: silence, a blank page."""

    name: ClassVar[str] = "monotony"
    columns: ClassVar[tuple[str, ...]] = ("ids",)
    most: float = setting(0.9, "share, above 0 and at most 1")
    least_ids: int = setting(16, "shorter rows pass")

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

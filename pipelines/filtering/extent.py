"""Filters on the extent of an input: ids, seconds, codes of a picture and its shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.filtering.row_filter import Refusal, RowFilter, check_bounds, check_range, outside
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class LengthFilter(RowFilter):
    """Bounds on the number of ids."""

    name: ClassVar[str] = "length"
    columns: ClassVar[tuple[str, ...]] = ("ids",)
    least: int | None = setting(None, "ids")
    most: int | None = setting(None, "ids")

    def __post_init__(self) -> None:
        check_range(self.name, self.least, self.most)

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Count the ids."""
        return outside("length", len(row["ids"]), self.least, self.most, " ids")


@dataclass(frozen=True, kw_only=True)
class DurationFilter(RowFilter):
    """Bounds on the duration of recordings."""

    name: ClassVar[str] = "duration"
    columns: ClassVar[tuple[str, ...]] = ("duration_s",)
    least_s: float | None = setting(None, "seconds")
    most_s: float | None = setting(None, "seconds")

    def __post_init__(self) -> None:
        check_range(self.name, self.least_s, self.most_s)

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Read the duration; what is no recording passes."""
        if row["duration_s"] is None:
            return None
        return outside("duration", row["duration_s"], self.least_s, self.most_s, " s")


@dataclass(frozen=True, kw_only=True)
class GridFilter(RowFilter):
    """Bounds on the grid of codes of pictures."""

    name: ClassVar[str] = "grid"
    columns: ClassVar[tuple[str, ...]] = ("grid_h", "grid_w")
    least_side: int | None = setting(None, "codes of the shorter side")
    most_aspect: float | None = setting(None, "longer side over shorter side")

    def __post_init__(self) -> None:
        check_bounds(self.name, least_side=self.least_side, most_aspect=self.most_aspect)

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Look at the sides; what is no single picture passes."""
        if row["grid_h"] is None:
            return None
        short, long = sorted((row["grid_h"], row["grid_w"]))
        return outside("shorter side", short, self.least_side, None, " codes") or outside(
            "ratio of the sides", long / short, None, self.most_aspect
        )

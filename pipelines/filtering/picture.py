"""A filter on the size and the shape of pictures in pixels."""

from dataclasses import dataclass
from typing import ClassVar

from pipelines.filtering.media_filter import PictureFilter, PictureSize
from pipelines.filtering.row_filter import Refusal, check_bounds, outside
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class ResolutionFilter(PictureFilter):
    """Bounds on the sides of pictures."""

    name: ClassVar[str] = "resolution"
    least_side: int | None = setting(None, "pixels of the shorter side")
    most_aspect: float | None = setting(None, "longer side over shorter side")

    def __post_init__(self) -> None:
        check_bounds(self.name, least_side=self.least_side, most_aspect=self.most_aspect)

    def judge(self, size: PictureSize) -> Refusal | None:
        """Compare the sides."""
        short, long = sorted((size.width, size.height))
        return outside("shorter side", short, self.least_side, None, " pixels") or outside(
            "ratio of the sides", round(long / short, 4), None, self.most_aspect
        )

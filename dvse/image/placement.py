"""How one picture is brought to the size that is cut into patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dvse.errors import ConfigError

Resample = Literal["bilinear", "bicubic", "lanczos"]
_FARTHEST = 1000
"""Pixels are 0 … 1, or 0 … 255 where somebody says means of those."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How one picture is resized and cut.

    Attributes:
        box: the part of the picture that is kept, in its own pixels: left, upper, right, lower.
        size: width and height in pixels that the part is resized to.
        grid: rows and columns of codes.
        crop: the part of the resized picture that is kept, in whole pixels; `None` keeps all.
        resample: the filter of the resize.
        is_exact: every pixel goes through that filter: no JPEG is decoded smaller, no box filter
            goes first. Published code does so; it costs a few times the time of large pictures.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    grid: tuple[int, int]
    crop: tuple[int, int, int, int] | None = None
    resample: Resample = "bicubic"
    is_exact: bool = False


def check_positive(**values: Any) -> None:
    """Raise `ConfigError` unless all values are whole numbers above 0."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"expected a positive integer {name}, received {value!r}")


def check_scaling(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise `ConfigError` unless these scale pixels: a number each for three colours."""
    numbers = [*mean, *std]
    are_numbers = all(isinstance(n, int | float) and abs(n) <= _FARTHEST for n in numbers)
    if len(mean) != 3 or len(std) != 3 or not are_numbers or min(std) <= 0:
        raise ConfigError(
            "expected three means and three positive standard deviations, none beyond "
            f"{_FARTHEST}, received {list(mean)} and {list(std)}"
        )


def check_resample(resample: Any) -> None:
    """Raise `ConfigError` unless it names a filter."""
    if resample not in get_args(Resample):
        raise ConfigError(f"expected a filter among {get_args(Resample)}, received {resample!r}")

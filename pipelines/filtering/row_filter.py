"""The contract of a filter."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dvse.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a row is left out.

    Attributes:
        reason: one sentence.
        score: the measure that decided.
    """

    reason: str
    score: float


class RowFilter(ABC):
    """Judges rows of token shards in input order; may remember what it has kept.

    Subclasses are dataclasses: their fields are the keys of the filter's table in the TOML file.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    """Columns that `judge` and `take` read."""
    remembers: ClassVar[bool] = False
    """Whether a verdict depends on the rows before it."""

    @abstractmethod
    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Return why a row is refused, `None` if it is not."""

    def take(self, row: Mapping[str, Any]) -> None:
        """Remember a row that no filter has refused."""
        return None

    def notes(self) -> Mapping[str, Any]:
        """Return what a verdict depends on besides the settings, as JSON."""
        return {}


def check_bounds(name: str, *, least_side: float | None, most_aspect: float | None) -> None:
    """Refuse a filter of pictures that bounds nothing, or by less than 1.

    Raises:
        ConfigError: which filter.
    """
    given = [bound for bound in (least_side, most_aspect) if bound is not None]
    if not given or min(given) < 1:
        raise ConfigError(
            f"[{name}]: expected bounds of at least 1, received least_side {least_side}, "
            f"most_aspect {most_aspect}"
        )


def check_range(name: str, least: float | None, most: float | None) -> None:
    """Raise `ConfigError` unless at least one bound is given, none negative, in rising order."""
    given = [bound for bound in (least, most) if bound is not None]
    if not given or min(given) < 0 or given != sorted(given):
        raise ConfigError(f"[{name}]: expected bounds in rising order, received {least}, {most}")


def outside(
    what: str, value: float, least: float | None, most: float | None, unit: str = ""
) -> Refusal | None:
    """Return the refusal of a value outside bounds.

    >>> outside("duration", 0.1, 0.5, None, " s").reason
    'a duration of 0.1 s, at least 0.5 s wanted'
    """
    if least is not None and value < least:
        return Refusal(
            reason=f"a {what} of {value:g}{unit}, at least {least:g}{unit} wanted", score=value
        )
    if most is not None and value > most:
        return Refusal(
            reason=f"a {what} of {value:g}{unit}, at most {most:g}{unit} wanted", score=value
        )
    return None

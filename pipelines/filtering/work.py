"""A set of filters as a job uses it: what decides verdicts, and the filters on rows at work."""

from collections.abc import Callable, Sequence
from typing import Any

from pipelines.filtering.filter_set import FilterSet


class FilterWork:
    """Filters of a job, none by default.

    Args:
        filters: of a file.
        decode_text: ids of a text → the text.

    Attributes:
        names: of the filters, in the order of the file.
        judge: those on rows.
        gate: those on media, for the decode workers; `None` where there are none.
    """

    def __init__(
        self,
        filters: FilterSet | None = None,
        *,
        decode_text: Callable[[Sequence[int]], str] | None = None,
    ) -> None:
        self._filters = filters or FilterSet()
        self.names = self._filters.names
        self.judge = self._filters.judge(decode_text=decode_text)
        self.gate = self._filters.gate()

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share to be one job."""
        return {"filters": self._filters.identity()} if self.names else {}

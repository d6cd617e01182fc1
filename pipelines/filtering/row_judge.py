"""The filters on rows at work: judge in input order, remember what stays."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.filtering.row_filter import Refusal, RowFilter


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Which filter refused a row, and why."""

    filter: str
    refusal: Refusal

    def columns(self) -> dict[str, Any]:
        """Return what a refused row has besides its own columns."""
        refusal = self.refusal
        return {"filter": self.filter, "reason": refusal.reason, "score": refusal.score}


class RowJudge:
    """Judges rows of token shards.

    Args:
        filters: in the order in which they judge; a row counts with the first that refuses it.
        decode_text: ids of a text → the text; for texts that are inputs themselves.

    Attributes:
        remembers: whether what is refused depends on rows before it, so that all have to come in
            input order.
        columns: of a row, what `take` and `judge` read.
    """

    def __init__(
        self,
        filters: Sequence[RowFilter],
        *,
        decode_text: Callable[[Sequence[int]], str] | None = None,
    ) -> None:
        self._filters, self._decode_text = tuple(filters), decode_text
        self.remembers = any(kind.remembers for kind in filters)
        wanted = {name for kind in filters for name in kind.columns}
        self._wants_text = "text" in wanted
        self.columns = sorted(wanted | ({"modality", "ids"} if self._wants_text else set()))

    def judge(self, row: Mapping[str, Any]) -> Verdict | None:
        """Return who refuses a row, `None` if it stays; then it is remembered."""
        row = self._with_text(row)
        for kind in self._filters:
            refusal = kind.judge(row)
            if refusal is not None:
                return Verdict(filter=kind.name, refusal=refusal)
        self._take(row)
        return None

    def take(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Remember rows that were judged before."""
        for row in rows:
            self._take(self._with_text(row))

    def _take(self, row: Mapping[str, Any]) -> None:
        for kind in self._filters:
            if kind.remembers:
                kind.take(row)

    def _with_text(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        is_text = self._wants_text and row["modality"] == "text" and row["text"] is None
        if not is_text or self._decode_text is None:
            return row
        return {**row, "text": self._decode_text(row["ids"])}

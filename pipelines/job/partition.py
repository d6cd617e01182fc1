"""One partition on its way to a shard: outcomes come in any order and leave in input order."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipelines.engines.engine import Outcome
from pipelines.filtering.row_judge import Verdict
from pipelines.job.done_marker import NO_MARK, DoneMarker, ErrorLine, FilteredLine, Line


class Partition:
    """Rows of one partition, and lines of its inputs that have none.

    Args:
        number: which one.
        first: number of its first input.
        num_numbers: inputs and holes; `None` while only the end of a stream will tell.

    Attributes:
        before: the marker that it was done under, where it is done again in part.
    """

    def __init__(self, number: int, first: int, num_numbers: int | None) -> None:
        self.number = number
        self.first = first
        self._rows: dict[int, dict[str, Any]] = {}
        self._lines: dict[int, Line] = {}
        self._marks: dict[int, Mapping[str, str]] = {}
        self._num_numbers = num_numbers
        self._holes: set[int] = set()
        self.before: DoneMarker | None = None

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of one input."""
        if outcome.row is not None and outcome.is_refused:
            self._lines[outcome.index] = FilteredLine.of(outcome.index, outcome.row)
            return
        if outcome.row is not None:
            self._rows[outcome.index] = outcome.row
            self._marks[outcome.index] = outcome.row.get("marks", {})
            return
        assert outcome.failure is not None
        self._lines[outcome.index] = ErrorLine(
            index=outcome.index,
            id=outcome.id,
            source=outcome.source,
            stage=outcome.failure.stage,
            type=outcome.failure.type,
            reason=outcome.failure.reason,
        )

    def skip(self, index: int) -> None:
        """Take note that no input has this number."""
        self._holes.add(index)

    def restore(
        self, marker: DoneMarker, rows: Iterable[dict[str, Any]], lines: Sequence[Line]
    ) -> None:
        """Take what an earlier run made: rows, and lines of inputs without one."""
        self.before = marker
        numbers = marker.row_numbers({line.index for line in lines})
        self._holes.update(marker.holes)
        self._rows.update(zip(numbers, rows, strict=True))
        self._marks.update(zip(numbers, marker.row_marks(), strict=True))
        self._lines.update((line.index, line) for line in lines)

    def try_again(self, index: int) -> None:
        """Forget that an input failed; its outcome is to come."""
        del self._lines[index]

    def close(self, index: int) -> None:
        """Say that every input of the partition comes before `index`, where that is not known."""
        if self._num_numbers is None:
            self._num_numbers = index - self.first

    @property
    def is_complete(self) -> bool:
        """Whether every input has an outcome."""
        return len(self._rows) + len(self._lines) + len(self._holes) == self._num_numbers

    @property
    def lines(self) -> list[Line]:
        """Lines of the inputs without a row, in input order."""
        return [self._lines[index] for index in sorted(self._lines)]

    def numbered_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield number and row of each input that has one, with its marks, in input order."""
        for index in sorted(self._rows):
            yield index, self._rows[index] | {"marks": self._marks[index]}

    def refuse(self, index: int, verdict: Verdict) -> None:
        """Put a line of `filtered.jsonl` in place of a row."""
        row = self._rows.pop(index) | verdict.columns()
        self._lines[index] = FilteredLine.of(index, row)
        del self._marks[index]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows in input order."""
        return [self._rows[index] for index in sorted(self._rows)]

    def marker(self, sha256: str) -> DoneMarker:
        """Return the done-marker, given the hash of the shard."""
        modality: dict[str, list[int]] = {}
        for row in self._rows.values():
            count = modality.setdefault(row.get("modality", "row"), [0, 0])
            count[0] += 1
            count[1] += len(row.get("ids", ()))
        errors = Counter(e.type for e in self._lines.values() if isinstance(e, ErrorLine))
        filtered = Counter(f.filter for f in self._lines.values() if isinstance(f, FilteredLine))
        return DoneMarker(
            partition=self.number,
            first=self.first,
            num_inputs=len(self._rows) + len(self._lines),
            num_rows=len(self._rows),
            num_errors=errors.total(),
            num_ids=sum(ids for _, ids in modality.values()),
            by_modality=dict(sorted(modality.items())),
            by_error=dict(sorted(errors.items())),
            sha256=sha256,
            holes=sorted(self._holes),
            num_filtered=filtered.total(),
            by_filter=dict(sorted(filtered.items())),
            marks=self._marks_in_words(),
        )

    def _marks_in_words(self) -> dict[str, str]:
        marks = [self._marks[index] for index in sorted(self._rows)]
        names = sorted({name for some in marks for name in some})
        return {name: " ".join(some.get(name, NO_MARK) for some in marks) for name in names}

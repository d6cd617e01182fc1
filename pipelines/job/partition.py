"""One partition on its way to a shard: outcomes come in any order and leave in input order."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.engines.engine import Outcome
from pipelines.job.done_marker import DoneMarker, ErrorLine


class Partition:
    """Rows and error lines of one partition.

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
        self._errors: dict[int, ErrorLine] = {}
        self._num_numbers = num_numbers
        self._holes: set[int] = set()
        self.before: DoneMarker | None = None

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of one input."""
        if outcome.row is not None:
            self._rows[outcome.index] = outcome.row
            return
        assert outcome.failure is not None
        self._errors[outcome.index] = ErrorLine(
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
        self, marker: DoneMarker, rows: Iterable[dict[str, Any]], errors: Sequence[ErrorLine]
    ) -> None:
        """Take what an earlier run made: all rows, and the error lines that are to stay."""
        self.before = marker
        numbers = marker.row_numbers({line.index for line in errors})
        self._holes.update(marker.holes)
        self._rows.update(zip(numbers, rows, strict=True))
        self._errors.update((line.index, line) for line in errors)

    def try_again(self, index: int) -> None:
        """Forget that an input failed; its outcome is to come."""
        del self._errors[index]

    def close(self, index: int) -> None:
        """Say that every input of the partition comes before `index`, where that is not known."""
        if self._num_numbers is None:
            self._num_numbers = index - self.first

    @property
    def is_complete(self) -> bool:
        """Whether every input has an outcome."""
        return len(self._rows) + len(self._errors) + len(self._holes) == self._num_numbers

    @property
    def errors(self) -> list[ErrorLine]:
        """Error lines in input order."""
        return [self._errors[index] for index in sorted(self._errors)]

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
        return DoneMarker(
            partition=self.number,
            first=self.first,
            num_inputs=len(self._rows) + len(self._errors),
            num_rows=len(self._rows),
            num_errors=len(self._errors),
            num_ids=sum(ids for _, ids in modality.values()),
            by_modality=dict(sorted(modality.items())),
            by_error=dict(sorted(Counter(e.type for e in self._errors.values()).items())),
            sha256=sha256,
            holes=sorted(self._holes),
        )

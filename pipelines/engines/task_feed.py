"""Tasks on their way to the decode workers: sent ahead, a few at a time."""

import time
from collections.abc import Iterator

from pipelines.engines.engine import Numbered, Outcome
from pipelines.sources.record import HeldPlace

POLL_S = 0.2
"""How long the loop waits for one thing before it looks after the others."""
_MOST_BYTES = 32 << 20


class TaskFeed:
    """Cuts the stream of records into tasks; one never spans two partitions.

    A task ends where its records carry much: members of compressed tars travel with them.
    """

    def __init__(self, records: Iterator[Numbered | None]) -> None:
        self._records = records
        self._ahead: Numbered | None = None
        self.failed: list[Outcome] = []
        self.is_exhausted = False

    def next(self, size: int) -> tuple[int, list[Numbered]] | None:
        """Return (partition, records) of the next task, `None` at the end or for now."""
        task: list[Numbered] = []
        num_bytes = 0
        deadline = time.monotonic() + POLL_S
        while len(task) < size and num_bytes < _MOST_BYTES:
            numbered, self._ahead = self._ahead or self._next(), None
            if numbered is None:
                break
            if task and numbered.partition != task[0].partition:
                self._ahead = numbered
                break
            if numbered.record.failure is not None:
                self.failed.append(Outcome.failed(numbered, numbered.record.failure))
            else:
                task.append(numbered)
                num_bytes += held_bytes(numbered)
            if time.monotonic() > deadline:
                break  # a slow source: let the loop look after the processes
        return (task[0].partition, task) if task else None

    def _next(self) -> Numbered | None:
        """The next record, `None` at the end or where none is there for now."""
        try:
            return next(self._records)
        except StopIteration:
            self.is_exhausted = True
            return None


def held_bytes(numbered: Numbered) -> int:
    """Return the bytes that travel with a record."""
    places = (ref.place for ref in numbered.record.refs)
    return sum(len(place.data) for place in places if isinstance(place, HeldPlace))

"""Filters on rows between an engine and the writer: complete partitions are judged and go on.

Where a filter remembers (duplicates), a partition is judged when all before it are: those that
earlier runs made are remembered as they are. So which input is the first one depends on the order
of the listing alone, whatever the workers do and however often the job was killed.
"""

from collections.abc import Collection, Iterator, Mapping

from dvse.storage.shard import read_shard
from pipelines.filtering.row_judge import RowJudge
from pipelines.job.done_marker import DoneMarker
from pipelines.job.journal import Journal
from pipelines.job.partition import Partition


class Judging:
    """Judges partitions.

    Args:
        judge: the filters.
        journal: of the job.
        finished: markers of partitions that are not made now.
    """

    def __init__(
        self, judge: RowJudge, journal: Journal, finished: Mapping[int, DoneMarker]
    ) -> None:
        self._judge, self._journal, self._finished = judge, journal, finished
        self._waiting: dict[int, Partition] = {}
        self._next = 0

    def put(self, partition: Partition) -> Iterator[Partition]:
        """Take a complete partition and yield those that may be written, in order."""
        if not self._judge.remembers:
            yield self._judged(partition)
            return
        self._waiting[partition.number] = partition
        while self._waiting:
            if (mine := self._waiting.pop(self._next, None)) is not None:
                yield self._judged(mine)
            elif (marker := self._finished.get(self._next)) is not None:
                self._remember(marker)
            else:
                return
            self._next += 1

    @property
    def waiting(self) -> Collection[Partition]:
        """Complete partitions whose turn has not come."""
        return self._waiting.values()

    def _judged(self, partition: Partition) -> Partition:
        for index, row in list(partition.numbered_rows()):
            verdict = self._judge.judge(row)
            if verdict is not None:
                partition.refuse(index, verdict)
        return partition

    def _remember(self, marker: DoneMarker) -> None:
        table = read_shard(self._journal.shard(marker), self._judge.columns)
        rows = zip(table.to_pylist(), marker.row_marks(), strict=True)
        self._judge.take(row | {"marks": marks} for row, marks in rows)

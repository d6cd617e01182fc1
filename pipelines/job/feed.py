"""What goes to the engine: the inputs that are left to do, under unique names.

Opens the partitions that they belong to, and says of each number that no input has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dvse.storage.shard import read_shard
from pipelines.engines.engine import Numbered
from pipelines.job.done_marker import DoneMarker, ErrorLine
from pipelines.job.journal import Journal
from pipelines.job.names import Names
from pipelines.job.numbering import Numbering
from pipelines.job.partition import Partition
from pipelines.job.plan import Plan


class Feed:
    """The inputs left to do, in the order of their numbers.

    Args:
        journal: of the job.
        plan: its inputs.
        numbering: of them.
        names: of the rows.
        size: numbers a partition.
        markers: of finished partitions.
        again: failed inputs of finished partitions that are tried again, by partition.
        wanted: the partitions that are done, rising; looked at as the feed is read. All that are
            not finished by default, to the end of the inputs.

    Attributes:
        partitions: those that are open, by number.
    """

    def __init__(
        self,
        journal: Journal,
        plan: Plan,
        numbering: Numbering,
        *,
        names: Names,
        size: int,
        markers: Mapping[int, DoneMarker],
        again: Mapping[int, Sequence[ErrorLine]],
        wanted: Iterable[int] | None = None,
    ) -> None:
        self._journal, self._plan, self._numbering = journal, plan, numbering
        self._names, self._size, self._markers, self._again = names, size, markers, again
        self._wanted = wanted
        self.partitions: dict[int, Partition] = {}

    def __iter__(self) -> Iterator[Numbered]:
        """Yield them; must be read once only."""
        number = -1
        for number, record in self._plan.records(self._ranges()):
            partition = self._open(number // self._size, number)
            if record is None:
                partition.skip(number)
                continue
            named = record.renamed(self._names.name(number, record.id))
            yield Numbered(partition=partition.number, index=number, record=named)
        self._close_until(number + 1)

    def _ranges(self) -> Iterator[tuple[int, int | None]]:
        """Yield half-open ranges of numbers in rising order; the last one is open."""
        end = max(self._markers, default=-1) + 1
        for partition in range(end) if self._wanted is None else self._wanted:
            first = partition * self._size
            if partition in self._again:
                for line in self._again[partition]:
                    yield line.index, line.index + 1
            elif partition not in self._markers:
                yield first, first + self._size
        if self._wanted is None:
            yield end * self._size, None

    def _open(self, partition: int, number: int) -> Partition:
        if partition not in self.partitions:
            self._close_until(number)
            self.partitions[partition] = self._begun(partition)
        return self.partitions[partition]

    def _begun(self, number: int) -> Partition:
        first, total = number * self._size, self._numbering.num_numbers
        is_known = total is not None or number in self._markers
        length = self._size if total is None else min(self._size, total - first)
        if (marker := self._markers.get(number)) is None:
            return Partition(number, first, length if is_known else None)
        length = marker.num_inputs + len(marker.holes)
        partition = Partition(number, first, length)
        rows = read_shard(self._journal.shard(marker)).to_pylist()
        partition.restore(marker, rows, self._journal.lines(marker))
        for line in self._again[number]:
            partition.try_again(line.index)
        return partition

    def _close_until(self, number: int) -> None:
        """Everything before this number was fed: now the end of a stream's partition is known."""
        for partition in self.partitions.values():
            partition.close(number)

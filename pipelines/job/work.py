"""The work of a run: inputs to the engine, outcomes into partitions, partitions to the writer.

    feed ─► engine ─► outcomes ─► Partition ─► filters ─► writer ─► shard + marker

It knows neither how the run began nor who else works on the same job.
"""

import contextlib
import time

from dvse.errors import CredentialsError, TooManyErrorsError
from pipelines.engines.engine import Engine, Outcome
from pipelines.job.beginning import Begun
from pipelines.job.done_marker import DoneMarker, Line
from pipelines.job.feed import Feed
from pipelines.job.journal import Journal
from pipelines.job.judging import Judging
from pipelines.job.partition import Partition
from pipelines.job.progress import Progress
from pipelines.job.stop_request import StopRequest
from pipelines.job.writer import ShardFormat, Writer


class Work:
    """Takes feeds to their end and remembers what came of them.

    Args:
        journal: where shards and markers go.
        engine: an open one.
        shard_format: columns and metadata of the shards.
        judging: filters on rows.
        max_error_rate: share of all inputs that may fail.
        progress: told what happens.
        stop: asked whether to stop.

    Attributes:
        done: markers of the partitions that it has made durable, by number.
        num_new: inputs that have an outcome now.
        seconds: spent, from the first input to the last shard.
    """

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        shard_format: ShardFormat,
        *,
        judging: Judging,
        max_error_rate: float,
        progress: Progress,
        stop: StopRequest,
    ) -> None:
        self._journal, self._engine, self._format = journal, engine, shard_format
        self._judging, self._max_error_rate = judging, max_error_rate
        self._progress, self._stop = progress, stop
        self._partitions: dict[int, Partition] = {}
        self._num_errors = 0
        self._total: int | None = None
        self.done: dict[int, DoneMarker] = {}
        self.num_new = 0
        self.seconds = 0.0

    @property
    def pending(self) -> list[Line]:
        """Lines of partitions that were not finished."""
        return [
            line
            for partition in (*self._partitions.values(), *self._judging.waiting)
            if partition.number not in self.done
            for line in partition.lines
        ]

    def run(self, feed: Feed, begun: Begun, *, total: int | None) -> None:
        """Do what a feed brings.

        Args:
            feed: the inputs.
            begun: what was there when the run began.
            total: inputs of the whole, those that were done before included; `None` where nobody
                knows.

        Raises:
            TooManyErrorsError: more inputs failed than allowed.
            WorkerDiedError: processes were killed twice on the same partition.
            StorageError: the disk is full, or credentials have expired; what is finished stays.
        """
        markers, num_again = begun.markers.values(), sum(map(len, begun.again.values()))
        self._partitions, self._total = feed.partitions, total
        self._num_errors = sum(marker.num_errors for marker in markers) - num_again
        already = sum(marker.num_inputs for marker in markers) - num_again
        writer = Writer(self._journal, self._format)
        self._progress.begin(total, already)
        began = time.monotonic()
        try:
            for outcome in self._engine.run(iter(feed)):
                self._take(outcome, writer)
            for partition in list(self._partitions.values()):
                self._hand_over(partition, writer)
            assert self._stop.is_set() or not self._partitions, "an input came to nothing"
        except BaseException:
            # What is complete becomes durable and the errors so far are known, but nothing that
            # fails now may hide what failed first.
            with contextlib.suppress(OSError):
                self._wind_up(writer, began)
            raise
        self._wind_up(writer, began)

    def _wind_up(self, writer: Writer, began: float) -> None:
        self._progress.end()
        try:
            writer.finish()
        finally:
            self.seconds += time.monotonic() - began
            self.done |= {marker.partition: marker for marker in writer.done}

    def _take(self, outcome: Outcome, writer: Writer) -> None:
        if outcome.failure is not None and outcome.failure.type == CredentialsError.__name__:
            # No other input behind that store can be had either: this one is as good as untried.
            raise CredentialsError(outcome.failure.reason)
        partition = self._partitions[outcome.partition]
        partition.add(outcome)
        self.num_new += 1
        self._num_errors += outcome.failure is not None
        self._progress.update(self._num_errors)
        self._check_errors()
        if partition.is_complete:
            self._hand_over(partition, writer)

    def _hand_over(self, partition: Partition, writer: Writer) -> None:
        if partition.is_complete:
            del self._partitions[partition.number]
            for judged in self._judging.put(partition):
                writer.put(judged)

    def _check_errors(self) -> None:
        allowed = self._max_error_rate
        total = self._total if self._total is not None else max(self.num_new, 100)
        if self._num_errors > allowed * total:
            errors = self._journal.output / "errors.jsonl"
            raise TooManyErrorsError(
                f"{self._num_errors:,} of {total:,} inputs failed, more than --max-error-rate "
                f"{allowed:g} allows; see {errors}, repair the inputs or raise the rate, then run "
                "the same command again (with --retry-errors for those that failed)"
            )

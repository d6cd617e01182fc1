"""The writer: a thread that makes complete partitions durable while the next ones are computed.

Shard first, then the lines of other inputs, then the done-marker, each whole or not there. Whatever
moment a job is killed at, a partition is either done or not.
"""

import hashlib
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from dvse.errors import DvseError, StorageError
from dvse.storage.shard import encode_shard
from pipelines.job.done_marker import DoneMarker
from pipelines.job.journal import Journal
from pipelines.job.partition import Partition


@dataclass(frozen=True, kw_only=True)
class ShardFormat:
    """Columns and metadata of the shards."""

    schema: pa.Schema
    metadata: Mapping[str, str]


class Writer:
    """Writes partitions in the background; at most two wait.

    Attributes:
        done: markers of the partitions that it has made durable.
    """

    def __init__(self, journal: Journal, shard_format: ShardFormat) -> None:
        self._journal = journal
        self._format = shard_format
        self._queue: queue.Queue[Partition | None] = queue.Queue(maxsize=2)
        self._error: BaseException | None = None
        self.done: list[DoneMarker] = []
        self._thread = threading.Thread(target=self._work, name="shard-writer", daemon=True)
        self._thread.start()

    def put(self, partition: Partition) -> None:
        """Hand over a complete partition; waits while two are waiting already.

        Raises:
            StorageError: an earlier one could not be written.
        """
        self._raise()
        self._queue.put(partition)

    def finish(self) -> None:
        """Wait until everything handed over is durable.

        Raises:
            StorageError: something could not be written.
        """
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if isinstance(self._error, OSError):
            error = self._error
            raise StorageError(
                f"{self._journal.output}: a shard could not be written "
                f"({error.strerror or error}); make room or repair it, then run the same command "
                "again: what is finished stays"
            ) from error
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (partition := self._queue.get()) is not None:
            if self._error is not None:
                continue  # keep emptying the queue, or the job would wait for ever
            try:
                self._commit(partition)
            except (OSError, DvseError, pa.ArrowException) as error:
                self._error = error

    def _commit(self, partition: Partition) -> None:
        shard = encode_shard(
            partition.rows, schema=self._format.schema, metadata=self._format.metadata
        )
        marker = partition.marker(hashlib.sha256(shard).hexdigest())
        self.done.append(
            self._journal.commit(marker, shard, partition.lines, before=partition.before)
        )

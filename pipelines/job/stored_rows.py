"""What finished shards say of single inputs, and whether an input would give the same row today."""

from collections.abc import Mapping
from typing import Any

from dvse.errors import InputError
from dvse.remote.patience import PATIENCE
from dvse.storage.shard import read_shard
from pipelines.job.done_marker import DoneMarker, ErrorLine
from pipelines.job.journal import Journal
from pipelines.sources.loading import load
from pipelines.sources.record import Record

_COLUMNS = ("id", "source", "sha256", "text")


class StoredRows:
    """Rows of finished partitions by the number of their input; one partition is held at a time.

    Args:
        journal: of the job.
        markers: of its finished partitions.
        size: numbers a partition.
    """

    def __init__(self, journal: Journal, markers: Mapping[int, DoneMarker], size: int) -> None:
        self._journal, self._markers, self._size = journal, markers, size
        self._held: tuple[int, dict[int, dict[str, Any]]] = (-1, {})
        self._held_errors: tuple[int, dict[int, ErrorLine]] = (-1, {})

    def get(self, number: int) -> dict[str, Any] | None:
        """Return what is stored of an input, `None` where it failed or is not done.

        A row that a filter refused says as much as one that stayed.
        """
        partition = number // self._size
        if partition not in self._markers:
            return None
        if self._held[0] != partition:
            marker = self._markers[partition]
            rows = read_shard(self._journal.shard(marker), _COLUMNS).to_pylist()
            numbers = marker.row_numbers({line.index for line in self._journal.lines(marker)})
            refused = {
                line.index: {name: getattr(line, name) for name in _COLUMNS}
                for line in self._journal.filtered(marker)
            }
            self._held = partition, dict(zip(numbers, rows, strict=True)) | refused
        return self._held[1].get(number)

    def error(self, number: int) -> ErrorLine | None:
        """Return why an input failed, `None` where it did not or is not done."""
        partition = number // self._size
        marker = self._markers.get(partition)
        if marker is None or not marker.num_errors:
            return None
        if self._held_errors[0] != partition:
            lines = {line.index: line for line in self._journal.errors(marker)}
            self._held_errors = partition, lines
        return self._held_errors[1].get(number)


def is_same(row: Mapping[str, Any], record: Record) -> bool:
    """Whether a record would give this row: the same name, place, text and bytes."""
    if record.failure is not None:
        return False
    if row["id"] != record.id and not row["id"].startswith(f"{record.id}#"):
        return False  # a name that was taken already has a number behind it
    try:
        loaded, _ = PATIENCE.call(lambda: load(record))
    except InputError:
        return False
    return (row["source"], row["sha256"], row["text"]) == (
        loaded.source,
        loaded.sha256,
        loaded.text,
    )


def is_readable(record: Record) -> bool:
    """Whether the bytes of a record can be had."""
    if record.failure is not None:
        return False
    try:
        PATIENCE.call(lambda: load(record))
    except InputError:
        return False
    return True

"""The shards that are exported: their rows, by split, and what stands in their footers."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dvse.errors import DvseError, ShardError
from dvse.remote.remote_path import Location, RemotePath
from dvse.storage.shard import (
    PATTERN,
    ShardMetadata,
    find_shards,
    opened,
    read_metadata,
    read_shard,
)

_ROWS_AT_ONCE = 1024
_SHARDS_REMEMBERED = 64


class TokenShards:
    """The shards of a directory and how their rows are split. Small and picklable.

    Rows without an id (an empty text) belong to no split: no trainer's format can hold them.

    Args:
        folder: directory of token shards.
        splits: name → share.
        seed: of the split.

    Raises:
        ShardError: none there, a corrupt one, or shards of different vocabularies.
    """

    def __init__(self, folder: Location, splits: Mapping[str, float], seed: int) -> None:
        self.paths = find_shards(folder)
        if not self.paths:
            raise ShardError(f"{folder}: expected {PATTERN} written by dvse tokenize, found none")
        self._splits, self._seed = dict(splits), seed
        self._recent: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self.metadata: ShardMetadata = read_metadata(self.paths[0])
        for path in self.paths[1:]:
            other = read_metadata(path)
            if other.vocabulary_fingerprint != self.metadata.vocabulary_fingerprint:
                raise ShardError(
                    f"{self.paths[0].name} and {path.name} were written with different "
                    "vocabularies; their ids mean different things, so export them apart"
                )

    def stamps(self) -> list[list[Any]]:
        """Return name, size and time of each shard: an export goes on over the same ones only."""
        return [_stamp(path) for path in self.paths]

    def lengths(self, shard: int) -> np.ndarray:
        """Return the ids of each row, `int64 [rows]`."""
        return self._remembered(shard)[0]

    def split_numbers(self, shard: int) -> np.ndarray:
        """Return which split each row of a shard is in, `int64 [rows]`; -1 for rows without ids.

        It follows from the seed and the hash of the input's bytes (its name where there is none),
        so equal inputs never stand on both sides, and a row stays where it is as the set grows.
        """
        return self._remembered(shard)[1]

    def has_loss_mask(self) -> bool:
        """Whether any row carries a loss mask."""
        return any(
            batch.column(0).null_count < batch.num_rows
            for path in self.paths
            for batch in _parquet(path).iter_batches(_ROWS_AT_ONCE, columns=["loss_mask"])
        )

    def batches(
        self, shard: int, start: int, stop: int, columns: Sequence[str]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows `start … stop-1` of a shard, some at a time, each with its first row.

        Raises:
            ShardError: the shard cannot be read.
        """
        path = self.paths[shard]
        file = _parquet(path)
        group_start = 0
        try:
            for group in range(file.num_row_groups):
                row = group_start
                group_start += file.metadata.row_group(group).num_rows
                if group_start <= start or row >= stop:
                    continue
                for batch in file.iter_batches(
                    _ROWS_AT_ONCE, row_groups=[group], columns=list(columns)
                ):
                    low, high = max(start - row, 0), min(stop - row, batch.num_rows)
                    if low < high:
                        yield row + low, batch.slice(low, high - low)
                    row += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise ShardError(f"{path}: expected a token shard; {error}") from None

    def _remembered(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """Lengths and split numbers of a shard; those asked for last are kept."""
        if shard not in self._recent:
            lengths = read_metadata(self.paths[shard]).lengths
            numbers = np.where(lengths > 0, self._split(shard, len(lengths)), -1)
            self._recent[shard] = lengths, numbers
            if len(self._recent) > _SHARDS_REMEMBERED:
                self._recent.popitem(last=False)
        return self._recent[shard]

    def _split(self, shard: int, num_rows: int) -> np.ndarray:
        if len(self._splits) == 1:
            return np.zeros(num_rows, dtype=np.int64)
        table = read_shard(self.paths[shard], columns=["id", "sha256"])
        keys = zip(table["id"].to_pylist(), table["sha256"].to_pylist(), strict=True)
        places = np.array([self._place(sha256 or id) for id, sha256 in keys], dtype=np.float64)
        edges = np.cumsum(list(self._splits.values()))[:-1]
        return np.searchsorted(edges, places, side="right")

    def _place(self, key: str) -> float:
        digest = hashlib.blake2b(f"{self._seed}\0{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def _stamp(path: Location) -> list[Any]:
    if isinstance(path, RemotePath):
        return [path.name, path.info().size, path.info().version]
    info = path.stat()
    return [path.name, info.st_size, info.st_mtime_ns]


def _parquet(path: Location) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(opened(path))
    except DvseError:
        raise  # of a store, which says what is the matter
    except (OSError, pa.ArrowException) as error:
        raise ShardError(f"{path}: expected a token shard; {error}") from None

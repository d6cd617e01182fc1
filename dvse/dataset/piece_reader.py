"""Reads pieces of documents out of token shards, a block of shards at a time."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from dvse.dataset.block_rows import (
    Rows,
    Stretches,
    are_long,
    gather,
    joined,
    paged_in,
    runs,
    where,
)
from dvse.dataset.epoch_order import SHARDS_AT_ONCE, Block
from dvse.dataset.flat_cache import FlatShard, flat_shard
from dvse.dataset.packing import Pieces
from dvse.remote.remote_path import Location
from dvse.storage.local_cache import LocalCache

# Picking rows costs about as much as copying this many times as many ids.
_WHOLE_FROM = 8

_MAPS_KEPT = 2 * SHARDS_AT_ONCE


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What was copied into some batches that lie end to end.

    Attributes:
        starts: `int64 [P]`, where each piece begins; rising.
        lengths: `int64 [P]`, its ids.
        mask: `bool [N]`, the loss mask where one of the rows has one, else `None`.
    """

    starts: np.ndarray
    lengths: np.ndarray
    mask: np.ndarray | None


class Windows(Protocol):
    """The windows of an epoch, or of a set that never ends: see `WindowStream`."""

    length: int

    @property
    def order(self) -> "Blocks":
        """The documents."""

    def blocks(self, first_window: int, stop_window: int) -> range:
        """Return the numbers of the blocks that stand in some windows."""

    def pieces(self, block: Block, number: int) -> Pieces:
        """Return the pieces of a block."""


class Blocks(Protocol):
    """Documents, block by block: see `EpochOrder`."""

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""

    def block(self, number: int) -> Block:
        """Return the documents of a block."""


class Cut(Protocol):
    """Whose windows are meant: see `BatchCut`."""

    @property
    def batch_size(self) -> int:
        """Windows a batch."""

    @property
    def share(self) -> int:
        """Number of this worker among all."""

    def windows(self, steps: np.ndarray) -> np.ndarray:
        """Return the first window of the batch in each of some steps."""

    def is_mine(self, window: np.ndarray) -> np.ndarray:
        """Return for each window whether a batch of this worker holds it."""


class PieceReader:
    """Holds what the present batches need of its blocks, and reads the next block meanwhile.

    Args:
        paths: the shards.
        lengths: for each shard, the ids in each of its rows.
        stream: the windows of an epoch.
        cut: whose batches; where they are a small share, only the rows that stand in them are kept.
        use_cache: keep flat copies of the shards.
        cache: for copies of shards that lie in a store.
    """

    def __init__(
        self,
        paths: Sequence[Location],
        lengths: Sequence[np.ndarray],
        stream: Windows,
        cut: Cut,
        *,
        use_cache: bool,
        cache: LocalCache | None = None,
    ) -> None:
        self._paths, self._lengths, self._stream, self._cut = paths, lengths, stream, cut
        self._use_cache, self._cache = use_cache, cache
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shard-reader")
        self._held: dict[int, Future[_Held]] = {}
        self._maps: dict[int, FlatShard] = {}
        # The shards that were read whole last, and what they hold end to end.
        self._whole: tuple[list[int], tuple[np.ndarray, np.ndarray | None]] = [], joined([])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def begin(self, steps: np.ndarray) -> None:
        """Begin to read what `fill` will ask for first, without waiting for it."""
        first = int(self._cut.windows(steps[:1])[0])
        self._ask(self._stream.blocks(first, first + self._cut.batch_size).start)

    def fill(self, ids: np.ndarray, steps: np.ndarray) -> Filled:
        """Copy the ids of this share's batches of some steps into an array.

        Args:
            ids: `[N]`, written to, a batch behind the other; padding stays as it is.
            steps: rising, each one of this worker's.

        Raises:
            ShardError: a shard cannot be read.
        """
        width, size = self._stream.length, self._cut.batch_size
        first = self._cut.windows(steps)
        begin, end = first * width, (first + size) * width
        shift = np.arange(len(steps)) * size * width - begin
        starts, lengths = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        mask = None
        blocks = self._stream.blocks(int(first[0]), int(first[-1]) + size)
        for number in blocks:
            held = self._hold(number)
            # Held are this share's pieces alone, so those of its steps lie side by side.
            low, high = (np.searchsorted(held.pieces.position, edge) for edge in (begin, end))
            mine = slice(int(low[0]), int(high[-1]))
            stretches = held.stretches.part(mine)
            target = held.pieces.position[mine] + np.repeat(shift, high - low)
            to = where(target, stretches.length)
            gather(held.rows.ids, stretches, out=ids, to=to)
            if held.rows.mask is not None:
                mask = np.ones(len(ids), dtype=bool) if mask is None else mask
                gather([held.rows.mask], stretches, out=mask, to=to)
            starts.append(target)
            lengths.append(stretches.length)
        for past in [n for n in self._held if n < blocks.stop - 1]:
            del self._held[past]
        return Filled(starts=np.concatenate(starts), lengths=np.concatenate(lengths), mask=mask)

    def _hold(self, number: int) -> "_Held":
        for wanted in (number, number + 1):
            self._ask(wanted)
        return self._held[number].result()

    def _ask(self, number: int) -> None:
        if number not in self._held and number < self._stream.order.num_blocks:
            self._held[number] = self._thread.submit(self._read, number)

    def _read(self, number: int) -> "_Held":
        block = self._stream.order.block(number)
        pieces = self._stream.pieces(block, number)
        is_mine = self._cut.is_mine(pieces.position // self._stream.length)
        if not is_mine.all():
            pieces = pieces.where(is_mine)
        is_needed = np.zeros(len(block.row), dtype=bool)
        is_needed[pieces.document] = True
        rows = self._rows(block, is_needed, may_lie_apart=are_long(pieces.length))
        return _Held(
            pieces=pieces,
            rows=rows,
            stretches=Stretches(
                array=rows.array[pieces.document],
                begin=rows.offset[pieces.document] + pieces.start,
                length=pieces.length,
            ),
        )

    def _rows(self, block: Block, is_needed: np.ndarray, *, may_lie_apart: bool) -> Rows:
        """Return the rows that are needed, each shard's by itself or all end to end.

        Long pieces are copied one by one, so they may come straight out of maps of the shards,
        which costs no memory and no copy. Where pieces are short, few rows of a shard are needed,
        or it has loss masks, rows are put together first.
        """
        array, offset = (np.zeros(len(block.row), dtype=np.int64) for _ in range(2))
        taken: list[FlatShard] = []
        whole: list[int] = []
        # Shares begin at different shards, so that flat copies are made side by side. Sorted, for
        # the blocks of a small set hold the same shards in each epoch.
        for number in np.roll(np.sort(block.shards), -self._cut.share).tolist():
            mine = is_needed & (block.shard == number)
            if not mine.any():
                continue
            lengths = self._lengths[number]
            is_taken = np.zeros(len(lengths), dtype=bool)
            is_taken[block.row[mine]] = True
            flat = self._flat(number)
            kept = np.where(is_taken, lengths, 0)
            if kept.sum() * _WHOLE_FROM >= lengths.sum():
                kept = lengths
                taken.append(flat)
                whole.append(number)
            else:
                taken.append(_part(flat, lengths, is_taken))
            array[mine] = len(taken) - 1
            offset[mine] = (np.cumsum(kept) - kept)[block.row[mine]]
        are_maps = len(whole) == len(taken) and all(number in self._maps for number in whole)
        if may_lie_apart and are_maps and all(flat.mask is None for flat in taken):
            return Rows(ids=[paged_in(flat.ids) for flat in taken], array=array, offset=offset)
        ends = np.cumsum([0, *(len(flat.ids) for flat in taken)])
        ids, mask = self._together(taken, whole)
        return Rows(ids=[ids], mask=mask, array=np.zeros_like(array), offset=offset + ends[array])

    def _together(
        self, taken: list[FlatShard], whole: list[int]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if len(whole) < len(taken):
            return joined(taken)
        if whole != self._whole[0]:
            self._whole = whole, joined(taken)
        return self._whole[1]

    def _flat(self, number: int) -> FlatShard:
        """The rows of a shard; small sets come again and again, so their last maps are kept."""
        if (known := self._maps.get(number)) is not None:
            return known
        path = self._paths[number]
        flat = flat_shard(path, use_cache=self._use_cache, cache=self._cache)
        # A map of what lies in a cache with a bound would hold on to what that has dropped.
        if isinstance(flat.ids, np.memmap) and isinstance(path, Path):
            while len(self._maps) >= _MAPS_KEPT:
                del self._maps[next(iter(self._maps))]
            self._maps[number] = flat
        return flat


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What a share needs of a block.

    Attributes:
        pieces: its pieces.
        rows: that hold them.
        stretches: where in these each piece lies.
    """

    pieces: Pieces
    rows: Rows
    stretches: Stretches


def _part(flat: FlatShard, lengths: np.ndarray, is_taken: np.ndarray) -> FlatShard:
    """Some rows of a shard."""
    begins = np.cumsum(lengths) - lengths
    at = runs(begins[is_taken], lengths[is_taken])
    return FlatShard(ids=flat.ids[at], mask=None if flat.mask is None else flat.mask[at])

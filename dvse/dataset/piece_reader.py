"""Reads pieces of documents out of token shards, a block of shards at a time."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from dvse.dataset.epoch_order import SHARDS_AT_ONCE, Block
from dvse.dataset.flat_cache import FlatShard, flat_shard
from dvse.dataset.packing import Pieces
from dvse.remote.remote_path import Location
from dvse.storage.local_cache import LocalCache

# Picking rows costs about as much as copying this many times as many ids.
_WHOLE_FROM = 8

# Ids a piece from which copying pieces one by one is faster than picking ids one by one; measured.
_SLICED_FROM = 192


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
        self._whole: tuple[list[int], tuple[np.ndarray, np.ndarray | None]] = [], _joined([])

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
            length = held.pieces.length[mine]
            target = held.pieces.position[mine] + np.repeat(shift, high - low)
            to, begin_at = _where(target, length), held.begin[mine]
            _gather(held.ids, begin_at, length, out=ids, to=to)
            if held.mask is not None:
                mask = np.ones(len(ids), dtype=bool) if mask is None else mask
                _gather(held.mask, begin_at, length, out=mask, to=to)
            starts.append(target)
            lengths.append(length)
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
        rows = self._rows(block, is_needed)
        return _Held(
            pieces=pieces,
            begin=rows.offset[pieces.document] + pieces.start,
            ids=rows.ids,
            mask=rows.mask,
        )

    def _rows(self, block: Block, is_needed: np.ndarray) -> "_Rows":
        offset = np.zeros(len(block.row), dtype=np.int64)
        taken: list[FlatShard] = []
        whole: list[int] = []
        base = 0
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
            offset[mine] = base + (np.cumsum(kept) - kept)[block.row[mine]]
            base += int(kept.sum())
        if len(whole) < len(taken):
            return _Rows(*_joined(taken), offset=offset)
        if whole != self._whole[0]:
            self._whole = whole, _joined(taken)
        return _Rows(*self._whole[1], offset=offset)

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


@dataclass(frozen=True)
class _Rows:
    """Rows of a block end to end; `offset` says where each document begins."""

    ids: np.ndarray
    mask: np.ndarray | None
    offset: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What a share needs of a block.

    Attributes:
        pieces: its pieces.
        begin: where each begins in `ids`.
        ids: in the shards' own dtype.
        mask: loss mask of each id, `None` where no row has one.
    """

    pieces: Pieces
    begin: np.ndarray
    ids: np.ndarray
    mask: np.ndarray | None


def _joined(flats: Sequence[FlatShard]) -> tuple[np.ndarray, np.ndarray | None]:
    """The ids and loss masks of some shards end to end."""
    mask = None
    if any(flat.mask is not None for flat in flats):
        masks = [np.ones(len(f.ids), bool) if f.mask is None else f.mask for f in flats]
        mask = np.concatenate(masks)
    ids = np.concatenate([f.ids for f in flats]) if flats else np.zeros(0, dtype=np.uint16)
    return ids, mask


def _part(flat: FlatShard, lengths: np.ndarray, is_taken: np.ndarray) -> FlatShard:
    """Some rows of a shard."""
    begins = np.cumsum(lengths) - lengths
    at = _runs(begins[is_taken], lengths[is_taken])
    return FlatShard(ids=flat.ids[at], mask=None if flat.mask is None else flat.mask[at])


def _runs(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers begins[i] … begins[i]+lengths[i]-1 of all i, end to end."""
    ends = np.cumsum(lengths)
    numbers = np.repeat(begins - (ends - lengths), lengths)
    numbers += np.arange(len(numbers))
    return numbers


def _gather(
    values: np.ndarray,
    begins: np.ndarray,
    lengths: np.ndarray,
    *,
    out: np.ndarray,
    to: slice | np.ndarray,
) -> None:
    """Write `values[begins[i] : begins[i] + lengths[i]]` of all i, end to end, into `out[to]`."""
    if lengths.sum() < _SLICED_FROM * max(len(lengths), 1):
        out[to] = values[_runs(begins, lengths)]
        return
    ends = (begins + lengths).tolist()
    slices = [values[a:b] for a, b in zip(begins.tolist(), ends, strict=True)]
    # Without a copy in between, where no id has to be widened on the way.
    if isinstance(to, slice) and out.dtype == values.dtype:
        np.concatenate(slices, out=out[to])
    else:
        out[to] = np.concatenate(slices)


def _where(target: np.ndarray, length: np.ndarray) -> slice | np.ndarray:
    """The same places as a slice where they are one stretch, which is copied much faster."""
    if not len(target):
        return slice(0, 0)
    if np.array_equal(target[:-1] + length[:-1], target[1:]):
        return slice(int(target[0]), int(target[-1] + length[-1]))
    return _runs(target, length)

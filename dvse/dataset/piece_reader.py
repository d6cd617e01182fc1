"""Reads pieces of documents out of token shards, a block of shards at a time."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from dvse.dataset.epoch_order import Block, EpochOrder
from dvse.dataset.flat_cache import flat_shard


class PieceReader:
    """Holds the blocks that the present batch needs, and reads the next one meanwhile.

    Args:
        paths: the shards.
        lengths: for each shard, the ids in each of its rows.
        order: the documents of an epoch.
        use_cache: keep flat copies of the shards.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        lengths: Sequence[np.ndarray],
        order: EpochOrder,
        *,
        use_cache: bool,
    ) -> None:
        self._paths, self._lengths, self._order = paths, lengths, order
        self._use_cache = use_cache
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shard-reader")
        self._held: dict[int, Future[_Held]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def fill(
        self,
        ids: np.ndarray,
        document: np.ndarray,
        start: np.ndarray,
        length: np.ndarray,
        target: np.ndarray,
    ) -> np.ndarray | None:
        """Copy pieces of documents into a batch.

        Args:
            ids: `int64 [N]`, written to.
            document, start, length, target: of each piece: its document in the order of the
                epoch, where in it the piece begins, its ids, and where in `ids` it goes (rising).

        Returns:
            `bool [N]`, the loss mask where one of the rows has one, else `None`.

        Raises:
            ShardError: a shard cannot be read.
        """
        if not len(document):
            return None
        edges = np.searchsorted(document, self._order.first)
        first, last = np.searchsorted(self._order.first, document[[0, -1]], side="right") - 1
        mask = None
        for number in range(int(first), int(last) + 1):
            mine = slice(int(edges[number]), int(edges[number + 1]))
            held = self._hold(number)
            begin = held.offset[document[mine] - self._order.first[number]] + start[mine]
            at, to = _runs(begin, length[mine]), _where(target[mine], length[mine])
            ids[to] = held.ids[at]
            if held.mask is not None:
                mask = np.ones(len(ids), dtype=bool) if mask is None else mask
                mask[to] = held.mask[at]
        for past in [n for n in self._held if n < int(last)]:
            del self._held[past]
        return mask

    def _hold(self, number: int) -> "_Held":
        for wanted in (number, number + 1):
            if wanted not in self._held and wanted < len(self._order.blocks):
                self._held[wanted] = self._thread.submit(self._read, self._order.blocks[wanted])
        return self._held[number].result()

    def _read(self, block: Block) -> "_Held":
        offset = np.empty(len(block.row), dtype=np.int64)
        shards = [flat_shard(self._paths[s], use_cache=self._use_cache) for s in block.shards]
        base = 0
        for number, flat in zip(block.shards, shards, strict=True):
            lengths = self._lengths[number]
            begins = np.cumsum(lengths) - lengths
            mine = block.shard == number
            offset[mine] = base + begins[block.row[mine]]
            base += len(flat.ids)
        mask = None
        if any(flat.mask is not None for flat in shards):
            masks = [np.ones(len(f.ids), bool) if f.mask is None else f.mask for f in shards]
            mask = np.concatenate(masks)
        return _Held(ids=np.concatenate([f.ids for f in shards]), offset=offset, mask=mask)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """The ids of a block.

    Attributes:
        ids: all ids of the block's shards end to end, in their own dtype.
        offset: where each document begins.
        mask: loss mask of each id, `None` where no row has one.
    """

    ids: np.ndarray
    offset: np.ndarray
    mask: np.ndarray | None


def _runs(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers begins[i] … begins[i]+lengths[i]-1 of all i, end to end."""
    ends = np.cumsum(lengths)
    numbers = np.repeat(begins - (ends - lengths), lengths)
    numbers += np.arange(len(numbers))
    return numbers


def _where(target: np.ndarray, length: np.ndarray) -> slice | np.ndarray:
    """The same places as a slice where they are one stretch, which is copied much faster."""
    if not len(target):
        return slice(0, 0)
    if np.array_equal(target[:-1] + length[:-1], target[1:]):
        return slice(int(target[0]), int(target[-1] + length[-1]))
    return _runs(target, length)

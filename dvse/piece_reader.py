"""Reads pieces of documents out of token shards, a block of shards at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dvse.epoch_order import Block, EpochOrder
from dvse.shard import read_shard


class PieceReader:
    """Holds the blocks that the present batch needs, and lets go of those before it.

    Args:
        paths: the shards.
        order: the documents of an epoch.
    """

    def __init__(self, paths: Sequence[Path], order: EpochOrder) -> None:
        self._paths, self._order = paths, order
        self._held: dict[int, _Held] = {}

    def read(
        self, document: np.ndarray, start: np.ndarray, length: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | bool]:
        """Return the ids of pieces end to end, and their loss mask (`True` where there is none)."""
        if not len(document):
            return np.zeros(0, dtype=np.int64), True
        block = np.searchsorted(self._order.first, document, side="right") - 1
        edges = np.flatnonzero(np.diff(block)) + 1
        ids, masks = [], []
        for part in np.split(np.arange(len(document)), edges):
            number = int(block[part[0]])
            held = self._hold(number)
            inside = document[part] - self._order.first[number]
            begin = held.offset[inside] + start[part]
            at = _runs(begin, length[part])
            ids.append(held.ids[at])
            masks.append(np.ones(len(at), bool) if held.mask is None else held.mask[at])
        for number in [n for n in self._held if n < int(block[-1])]:
            del self._held[number]
        return (np.concatenate(ids), np.concatenate(masks)) if len(ids) > 1 else (ids[0], masks[0])

    def _hold(self, number: int) -> "_Held":
        if number not in self._held:
            self._held[number] = _Held.read(self._paths, self._order.blocks[number])
        return self._held[number]


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

    @classmethod
    def read(cls, paths: Sequence[Path], block: Block) -> "_Held":
        offset = np.empty(len(block.row), dtype=np.int64)
        parts: list[np.ndarray] = []
        masks: list[np.ndarray | None] = []
        base = 0
        for shard in block.shards:
            table = read_shard(paths[shard], columns=["ids", "loss_mask"]).combine_chunks()
            column = _one_chunk(table["ids"])
            offsets = column.offsets.to_numpy()
            values = column.values.to_numpy()
            mine = block.shard == shard
            offset[mine] = base + offsets[:-1][block.row[mine]]
            parts.append(values)
            masks.append(_flat_mask(_one_chunk(table["loss_mask"]), offsets))
            base += len(values)
        mask = None
        if any(m is not None for m in masks):
            mask = np.concatenate(
                [
                    np.ones(len(p), bool) if m is None else m
                    for p, m in zip(parts, masks, strict=True)
                ]
            )
        return cls(ids=np.concatenate(parts), offset=offset, mask=mask)


def _one_chunk(column: Any) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _flat_mask(column: Any, offsets: np.ndarray) -> np.ndarray | None:
    """The loss mask of every id of a shard; rows without one count everywhere."""
    if column.null_count == len(column):
        return None
    lengths = np.diff(offsets)
    has = ~column.is_null().to_numpy(zero_copy_only=False)
    mask = np.ones(int(offsets[-1]), dtype=bool)
    mask[np.repeat(has, lengths)] = column.flatten().to_numpy(zero_copy_only=False)
    return mask


def _runs(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers begins[i] … begins[i]+lengths[i]-1 of all i, end to end."""
    ends = np.cumsum(lengths)
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(int(ends[-1]))

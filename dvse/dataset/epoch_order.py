"""The order of an epoch: all documents of all shards, mixed, the same for whoever asks.

It follows from seed, epoch and row lengths alone, and from nothing about ranks or workers, so it
stays what it is when their number changes. Documents are mixed within *blocks* of a few shards,
which bounds memory; the blocks are put together anew each epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHARDS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Block:
    """The documents of a few shards in the order of the epoch.

    Attributes:
        shards: `int64 [S]`, numbers of the shards.
        shard, row: `int64 [N]`, where each document lies.
        length: `int64 [N]`, its ids, at least 1.
    """

    shards: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    length: np.ndarray


class EpochOrder:
    """The documents of one epoch, block by block; a block is worked out when it is asked for.

    Args:
        lengths: for each shard, the ids in each of its rows; rows of 0 are left out.
        seed, epoch: of the mixing.
        shuffle: mix; else input order.
    """

    def __init__(
        self, lengths: Sequence[np.ndarray], *, seed: int, epoch: int, shuffle: bool
    ) -> None:
        self._lengths, self._shuffle, self._key = lengths, shuffle, (seed, epoch)
        shards = np.arange(len(lengths))
        if shuffle:
            shards = np.random.default_rng(self._key).permutation(shards)
        self._groups = [
            shards[first : first + SHARDS_AT_ONCE]
            for first in range(0, len(shards), SHARDS_AT_ONCE)
        ]

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return len(self._groups)

    def num_ids(self) -> np.ndarray:
        """Return the ids of each block, `int64 [num_blocks]`."""
        of_shard = np.array([lengths.sum() for lengths in self._lengths], dtype=np.int64)
        return np.array([of_shard[group].sum() for group in self._groups], dtype=np.int64)

    def block(self, number: int) -> Block:
        """Return the documents of a block."""
        group = self._groups[number]
        shard = np.repeat(group, [len(self._lengths[s]) for s in group])
        row = np.concatenate([np.arange(len(self._lengths[s])) for s in group])
        length = np.concatenate([self._lengths[s] for s in group])
        order = np.arange(len(shard))
        if self._shuffle:
            order = np.random.default_rng([*self._key, 1, *group]).permutation(order)
        order = order[length[order] > 0]
        return Block(shards=group, shard=shard[order], row=row[order], length=length[order])

"""The order of an epoch: which documents a rank's worker sees, and in which order.

It follows from seed, epoch and row lengths alone, so all shares work it out for themselves and
never overlap. Documents are mixed within groups of a few shards, which bounds memory; the groups
are mixed anew each epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SHARDS_AT_ONCE = 8


@dataclass(frozen=True)
class Share:
    """Which part of the documents: of which worker of which rank."""

    rank: int
    num_ranks: int
    worker: int
    num_workers: int

    @property
    def number(self) -> int:
        """Position among all shares."""
        return self.worker * self.num_ranks + self.rank

    @property
    def count(self) -> int:
        """Number of shares."""
        return self.num_ranks * self.num_workers

    def all_shares(self) -> Iterator["Share"]:
        """Yield every share, this one included."""
        for rank in range(self.num_ranks):
            for worker in range(self.num_workers):
                yield Share(rank, self.num_ranks, worker, self.num_workers)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Documents of a few shards that are held in memory together."""

    shards: np.ndarray
    shard: np.ndarray
    row: np.ndarray
    length: np.ndarray


class EpochOrder:
    """The documents of an epoch, block by block."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = [block for block in blocks if len(block.row)]
        sizes = [len(block.row) for block in self.blocks]
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def lengths(self) -> np.ndarray:
        """Ids of each document, `int64 [N]`."""
        parts = [block.length for block in self.blocks]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def epoch_order(
    lengths: Sequence[np.ndarray], share: Share, *, seed: int, epoch: int, shuffle: bool
) -> EpochOrder:
    """Return the documents of one share in the order of one epoch.

    Args:
        lengths: for each shard, the ids in each of its rows; rows of 0 are left out.
        share: whole shards where there are enough of them, else every n-th document.
        seed, epoch, shuffle: how documents are mixed; input order without `shuffle`.
    """
    num_shards = len(lengths)
    rng = np.random.default_rng([seed, epoch])
    shards = rng.permutation(num_shards) if shuffle else np.arange(num_shards)
    by_shard = num_shards >= 4 * share.count
    chosen = shards[share.number :: share.count] if by_shard else shards
    blocks = []
    for first in range(0, len(chosen), SHARDS_AT_ONCE):
        group = chosen[first : first + SHARDS_AT_ONCE]
        shard = np.repeat(group, [len(lengths[s]) for s in group])
        row = np.concatenate([np.arange(len(lengths[s])) for s in group])
        length = np.concatenate([lengths[s] for s in group])
        order = np.arange(len(shard))
        if shuffle:
            order = np.random.default_rng([seed, epoch, 1, *group]).permutation(order)
        if not by_shard:
            order = order[share.number :: share.count]
        order = order[length[order] > 0]
        blocks.append(Block(shards=group, shard=shard[order], row=row[order], length=length[order]))
    return EpochOrder(blocks)

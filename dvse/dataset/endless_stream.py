"""The windows of a set that is read again and again: one epoch behind the other, without a seam.

It looks like the windows of one epoch that never ends: block 0 … G-1 are epoch 0, G … 2G-1 are
epoch 1, and the first window of an epoch begins with the last ids of the one before.
"""

import copy
from collections.abc import Sequence

import numpy as np

from dvse.dataset.epoch_order import Block, EpochOrder
from dvse.dataset.packing import Packing, Pieces
from dvse.dataset.window_stream import WindowStream
from dvse.errors import ShardError

_NEVER = 2**62
_EPOCHS_KEPT = 4


class EndlessStream:
    """The windows of all epochs of a set.

    Args:
        lengths: for each shard, the ids in each of its rows.
        packing: how documents are laid into windows.
        seed, shuffle: how each epoch is mixed.

    Raises:
        ShardError: there are no ids at all.
    """

    def __init__(
        self, lengths: Sequence[np.ndarray], packing: Packing, *, seed: int, shuffle: bool
    ) -> None:
        self.length, self._packing = packing.length, packing
        self.num_blocks = _NEVER
        self._lengths, self._seed, self._shuffle = lengths, seed, shuffle
        self._epoch_begins = [0]
        self._epochs: dict[int, WindowStream] = {}
        self._blocks_an_epoch = self._epoch(0).order.num_blocks
        if not self._epoch(0).begins[-1]:
            raise ShardError("expected at least one row with ids, found none")

    @property
    def order(self) -> "EndlessStream":
        """The documents, for who reads blocks."""
        return self

    @property
    def epoch_length(self) -> int:
        """Ids of the first epoch in its windows, padding included."""
        return int(self._epoch(0).begins[-1])

    def until(self, stop_window: int) -> "EndlessStream":
        """Return the same windows, as far as they are needed: nobody reads ahead any further."""
        shorter = copy.copy(self)
        shorter.num_blocks = self.blocks(0, stop_window).stop
        return shorter

    def block(self, number: int) -> Block:
        """Return the documents of a block."""
        epoch, inside = divmod(number, self._blocks_an_epoch)
        return self._epoch(epoch).order.block(inside)

    def pieces(self, block: Block, number: int) -> Pieces:
        """Return the pieces of a block, whose number among all blocks is `number`."""
        epoch, inside = divmod(number, self._blocks_an_epoch)
        begin = self._begin_of(epoch) + int(self._epoch(epoch).begins[inside])
        return self._packing.lay_out(block.length, begin)

    def blocks(self, first_window: int, stop_window: int) -> range:
        """Return the numbers of the blocks that stand in some windows."""
        return range(
            self._block_at(first_window * self.length),
            self._block_at(stop_window * self.length - 1) + 1,
        )

    def _block_at(self, position: int) -> int:
        while self._epoch_begins[-1] <= position:
            self._begin_of(len(self._epoch_begins))
        epoch = int(np.searchsorted(self._epoch_begins, position, side="right")) - 1
        begins = self._epoch(epoch).begins
        inside = np.searchsorted(begins, position - self._epoch_begins[epoch], side="right") - 1
        return epoch * self._blocks_an_epoch + int(inside)

    def _begin_of(self, epoch: int) -> int:
        """Where an epoch begins among the ids of all."""
        while len(self._epoch_begins) <= epoch:
            last = len(self._epoch_begins) - 1
            size = int(self._epoch(last).begins[-1])
            self._epoch_begins.append(self._epoch_begins[-1] + size)
        return self._epoch_begins[epoch]

    def _epoch(self, epoch: int) -> WindowStream:
        """The windows of one epoch; those asked for last are kept."""
        if epoch not in self._epochs:
            while len(self._epochs) >= _EPOCHS_KEPT:
                del self._epochs[next(iter(self._epochs))]
            order = EpochOrder(self._lengths, seed=self._seed, epoch=epoch, shuffle=self._shuffle)
            self._epochs[epoch] = WindowStream(order, self._packing)
        return self._epochs[epoch]

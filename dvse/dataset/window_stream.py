"""The windows of one epoch in one order, and which pieces of which documents stand in them."""

from functools import cached_property

import numpy as np

from dvse.dataset.epoch_order import Block, EpochOrder
from dvse.dataset.packing import Packing, Pieces


class WindowStream:
    """An epoch's order, packed.

    Args:
        order: the documents.
        packing: how they are laid into windows.
    """

    def __init__(self, order: EpochOrder, packing: Packing) -> None:
        self.order, self.length = order, packing.length
        self._packing = packing

    @property
    def num_windows(self) -> int:
        """Windows of the epoch."""
        return int(-(-self.begins[-1] // self.length))

    def blocks(self, first_window: int, stop_window: int) -> range:
        """Return the numbers of the blocks that stand in some windows."""
        first = np.searchsorted(self.begins, first_window * self.length, side="right") - 1
        stop = np.searchsorted(self.begins[:-1], stop_window * self.length, side="left")
        return range(int(first), int(stop))

    def pieces(self, block: Block, number: int) -> Pieces:
        """Return the pieces of a block, whose number among the blocks is `number`."""
        return self._packing.lay_out(block.length, int(self.begins[number]))

    @cached_property
    def begins(self) -> np.ndarray:
        """Where each block begins in the stream and where it ends, `int64 [G + 1]`."""
        return self._packing.begins(self.order)

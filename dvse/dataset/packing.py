"""Packing: documents of different lengths laid end to end in windows of one length.

The windows of an epoch are one long stream of ids, cut every `length` ids; packing says where in
it each document stands. That is decided by the lengths alone, before any id is read, so everybody
knows how many windows there are and a run can go on in the middle. Knows no torch and no files.
"""

import bisect
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from dvse.dataset.epoch_order import EpochOrder
from dvse.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Where the documents of a block stand. A *piece* is a stretch of one document in one window.

    Attributes:
        document: `int64 [P]`, position of the piece's document in the block.
        start: `int64 [P]`, where in the document it begins.
        length: `int64 [P]`, its ids.
        position: `int64 [P]`, where in the stream of windows it begins; rising.
    """

    document: np.ndarray
    start: np.ndarray
    length: np.ndarray
    position: np.ndarray

    def where(self, chosen: np.ndarray) -> "Pieces":
        """Return the chosen pieces (`bool [P]`)."""
        return Pieces(
            document=self.document[chosen],
            start=self.start[chosen],
            length=self.length[chosen],
            position=self.position[chosen],
        )


class Packing(ABC):
    """How documents are laid into windows of `length` ids.

    Raises:
        ConfigError: a length below 2.
    """

    def __init__(self, length: int) -> None:
        if length < 2:
            raise ConfigError(f"expected windows of at least 2 ids, received {length}")
        self.length = length

    @abstractmethod
    def begins(self, order: EpochOrder) -> np.ndarray:
        """Return where each block begins in the stream and where it ends: `int64 [G + 1]`."""

    @abstractmethod
    def lay_out(self, lengths: np.ndarray, begin: int) -> Pieces:
        """Return the pieces of a block.

        Args:
            lengths: `int64 [N]`, ids of its documents, each at least 1.
            begin: where the block begins in the stream.
        """


class ContinuousPacking(Packing):
    """Documents end to end without a gap; one that does not fit goes on in the next window.

    Only the last window has padding. What most pre-training uses.

    >>> pieces = ContinuousPacking(4).lay_out(np.array([3, 3]), begin=0)
    >>> list(zip(pieces.document.tolist(), pieces.start.tolist(), pieces.length.tolist()))
    [(0, 0, 3), (1, 0, 1), (1, 1, 2)]
    """

    def begins(self, order: EpochOrder) -> np.ndarray:
        """Blocks stand end to end, too."""
        return np.append(0, np.cumsum(order.num_ids()))

    def lay_out(self, lengths: np.ndarray, begin: int) -> Pieces:
        """Cut the stream every `length` ids."""
        ends = begin + np.cumsum(lengths)
        starts = ends - lengths
        # A piece begins where a document or a window begins: one for each window of a document.
        first = starts // self.length
        num_pieces = (ends - 1) // self.length - first + 1
        document = np.repeat(np.arange(len(lengths)), num_pieces)
        first_piece = np.cumsum(num_pieces) - num_pieces
        window = np.arange(len(document)) + (first - first_piece)[document]
        position = np.maximum(starts[document], window * self.length)
        start = position - starts[document]
        length = np.append(position[1:], ends[-1:]) - position
        return Pieces(document=document, start=start, length=length, position=position)


class WholePacking(Packing):
    """Documents stay whole: one that does not fit any more begins the next window.

    A document longer than a window is cut into pieces of a whole window; its rest goes on as the
    others do. Costs padding, keeps a picture and its caption together. Each block begins a window.

    >>> WholePacking(4).lay_out(np.array([3, 3]), begin=0).position.tolist()
    [0, 4]
    """

    def begins(self, order: EpochOrder) -> np.ndarray:
        """Fill the windows of every block, to know their number."""
        windows = [
            len(self._first_pieces(_cut_long(order.block(number).length, self.length)[2]))
            for number in range(order.num_blocks)
        ]
        return np.append(0, np.cumsum(np.array(windows, dtype=np.int64))) * self.length

    def lay_out(self, lengths: np.ndarray, begin: int) -> Pieces:
        """Fill windows in order (next fit)."""
        document, start, length = _cut_long(lengths, self.length)
        first = self._first_pieces(length)
        window = np.repeat(np.arange(len(first)), np.diff([*first, len(length)]))
        before = np.cumsum(length) - length
        position = begin + window * self.length + before - before[first][window]
        return Pieces(document=document, start=start, length=length, position=position)

    def _first_pieces(self, length: np.ndarray) -> np.ndarray:
        """The first piece of each window, `int64 [W]`."""
        # A window takes pieces while their sum fits: one bisection a window.
        ends: list[int] = np.cumsum(length).tolist()
        first, piece, before = [], 0, 0
        while piece < len(ends):
            first.append(piece)
            piece = bisect.bisect_right(ends, before + self.length, lo=piece)
            before = ends[piece - 1]
        return np.array(first, dtype=np.int64)


def _cut_long(lengths: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    num_pieces = -(-lengths // most)
    document = np.repeat(np.arange(len(lengths)), num_pieces)
    first = np.cumsum(num_pieces) - num_pieces
    start = (np.arange(len(document)) - first[document]) * most
    return document, start, np.minimum(lengths[document] - start, most)

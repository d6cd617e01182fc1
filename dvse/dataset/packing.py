"""Packing: rows of different lengths laid end to end in windows of one length.

A layout is decided by the lengths alone, before any id is read, so every rank knows how many
batches there will be and a run can go on in the middle. Knows no torch and no files.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from dvse.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the documents of a stream stand.

    A *piece* is a stretch of one document in one window.

    Attributes:
        document: `int64 [P]`, position of the piece's document in the stream.
        start: `int64 [P]`, where in the document it begins.
        length: `int64 [P]`, its ids.
        first_piece: `int64 [W + 1]`, the first piece of each window; the last entry is P.
    """

    document: np.ndarray
    start: np.ndarray
    length: np.ndarray
    first_piece: np.ndarray

    @property
    def num_windows(self) -> int:
        """Number of windows."""
        return len(self.first_piece) - 1


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
    def lay_out(self, lengths: np.ndarray) -> Layout:
        """Return the layout of a stream of documents with these lengths (`int64 [N]`)."""


class ContinuousPacking(Packing):
    """Documents end to end without a gap; one that does not fit goes on in the next window.

    Only the last window has padding. What most pre-training uses.

    >>> layout = ContinuousPacking(4).lay_out(np.array([3, 3]))
    >>> list(zip(layout.document.tolist(), layout.start.tolist(), layout.length.tolist()))
    [(0, 0, 3), (1, 0, 1), (1, 1, 2)]
    """

    def lay_out(self, lengths: np.ndarray) -> Layout:
        """Cut the stream every `length` ids."""
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        begins = ends - lengths
        # A piece begins where a document or a window begins.
        windows = np.arange(0, total, self.length)
        cuts = np.union1d(begins[lengths > 0], windows)
        stops = np.append(cuts[1:], total)[: len(cuts)]
        document = np.searchsorted(ends, cuts, side="right")
        return Layout(
            document=document,
            start=cuts - begins[document] if len(cuts) else cuts,
            length=stops - cuts,
            first_piece=np.searchsorted(cuts, np.append(windows, total)),
        )


class WholePacking(Packing):
    """Documents stay whole: one that does not fit any more begins the next window.

    A document longer than a window is cut into pieces of a whole window; its rest goes on as the
    others do. Costs padding, keeps a picture and its caption together.

    >>> layout = WholePacking(4).lay_out(np.array([3, 3]))
    >>> layout.first_piece.tolist()
    [0, 1, 2]
    """

    def lay_out(self, lengths: np.ndarray) -> Layout:
        """Fill windows in order (next fit)."""
        document, start, length = _cut_long(lengths, self.length)
        # A window takes pieces while their sum fits: one bisection a window.
        ends = np.cumsum(length)
        first_piece, piece, before = [0], 0, 0
        while piece < len(length):
            piece = int(np.searchsorted(ends, before + self.length, side="right"))
            before = int(ends[piece - 1])
            first_piece.append(piece)
        return Layout(
            document=document,
            start=start,
            length=length,
            first_piece=np.array(first_piece, dtype=np.int64),
        )


def _cut_long(lengths: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    num_pieces = -(-lengths // most)
    document = np.repeat(np.arange(len(lengths)), num_pieces)
    first = np.cumsum(num_pieces) - num_pieces
    start = (np.arange(len(document)) - first[document]) * most
    return document, start, np.minimum(lengths[document] - start, most)

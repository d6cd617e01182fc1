"""What will be written where, decided by the lengths in the shards' footers alone.

So every worker, and every run after a kill, comes to the same pieces, and the place of a piece in
a file is known before anything in front of it is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dvse.errors import ConfigError, ShardError
from pipelines.export.settings import ExportSettings
from pipelines.export.token_shards import TokenShards


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Rows `start … stop-1` of a shard; those of the piece's split are meant."""

    shard: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive documents of one split: what is written, and made durable, at once.

    Attributes:
        index: among all pieces of the export.
        split, number: of which split, and its number there.
        first_sequence, num_sequences: its documents among those of the split.
        first_id, num_ids: its ids among those of the split, end-of-document ids included.
        stretches: where its rows lie.
    """

    index: int
    split: str
    number: int
    first_sequence: int
    num_sequences: int
    first_id: int
    num_ids: int
    stretches: tuple[Stretch, ...]


class Plan:
    """The pieces of an export.

    Args:
        settings: of the export.
        shards: what is exported.
        id_dtype: of the format's ids.
    """

    def __init__(self, settings: ExportSettings, shards: TokenShards, id_dtype: np.dtype) -> None:
        self.settings, self.shards, self.id_dtype = settings, shards, id_dtype
        self.splits = tuple(settings.splits)
        self.longest = self.num_empty = 0
        self._open: dict[str, _Open] = {}
        self._closed: dict[str, list[_Open]] = {name: [] for name in self.splits}
        for shard in range(len(shards.paths)):
            self._add(shard)
        self.has_loss_mask = shards.has_loss_mask()
        empty = [name for name in self.splits if not self.of_split(name)]
        if len(empty) == len(self.splits):
            raise ShardError(f"{settings.tokens}: expected at least one row with ids, found none")
        if empty:
            raise ConfigError(
                f"{settings.tokens}: no document with ids is left for the split {empty[0]!r}; "
                "there are too few, give it a larger share"
            )

    @property
    def num_extra(self) -> int:
        """Ids added to each document: its end, or none."""
        return int(self.settings.end_id is not None)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces, split by split."""
        pieces: list[Piece] = []
        for name in self.splits:
            first_sequence = first_id = 0
            last = [self._open[name]] if name in self._open else []
            for number, made in enumerate([*self._closed[name], *last]):
                pieces.append(
                    Piece(
                        index=len(pieces),
                        split=name,
                        number=number,
                        first_sequence=first_sequence,
                        num_sequences=made.num_sequences,
                        first_id=first_id,
                        num_ids=made.num_ids,
                        stretches=tuple(made.stretches),
                    )
                )
                first_sequence += made.num_sequences
                first_id += made.num_ids
        return tuple(pieces)

    def of_split(self, name: str) -> list[Piece]:
        """Return the pieces of a split, in order."""
        return [piece for piece in self.pieces if piece.split == name]

    def sequence_lengths(self, name: str) -> Iterator[np.ndarray]:
        """Yield the lengths of a split's documents as they will be written, a shard at a time."""
        wanted = self.splits.index(name)
        for shard in range(len(self.shards.paths)):
            mine = self.shards.split_numbers(shard) == wanted
            yield self.shards.lengths(shard)[mine] + self.num_extra

    def check_longest(self, limit: int, name: str) -> None:
        """Raise `ConfigError` if a document has more ids than format `name` can hold."""
        if self.longest > limit:
            raise ConfigError(
                f"{name}: expected documents of at most {limit:,} ids, which its index can hold; "
                f"the longest one in {self.settings.tokens} has {self.longest:,}: cut it, or leave "
                "it out"
            )

    def _add(self, shard: int) -> None:
        """Cut the rows of a shard into pieces that hold at most `piece_bytes`."""
        lengths = self.shards.lengths(shard) + self.num_extra
        splits = self.shards.split_numbers(shard)
        self.num_empty += int((splits < 0).sum())
        most = self.settings.piece_bytes // self.id_dtype.itemsize
        for number, name in enumerate(self.splits):
            rows = np.flatnonzero(splits == number)
            ends = np.cumsum(lengths[rows])
            self.longest = max(self.longest, int(lengths[rows].max(initial=0)))
            at = done = 0
            while at < len(rows):
                piece = self._open.setdefault(name, _Open([]))
                stop = int(np.searchsorted(ends, done + most - piece.num_ids, side="right"))
                if stop == at and not piece.num_sequences:
                    stop = at + 1  # a document that is larger than a piece stands alone
                if stop > at:
                    num_ids = int(ends[stop - 1]) - done
                    stretch = Stretch(
                        shard=shard, start=int(rows[at]), stop=int(rows[stop - 1]) + 1
                    )
                    piece.take(stretch, stop - at, num_ids)
                    at, done = stop, done + num_ids
                if at < len(rows):
                    self._closed[name].append(self._open.pop(name))


@dataclass
class _Open:
    stretches: list[Stretch]
    num_sequences: int = 0
    num_ids: int = 0

    def take(self, stretch: Stretch, num_sequences: int, num_ids: int) -> None:
        self.stretches.append(stretch)
        self.num_sequences += num_sequences
        self.num_ids += num_ids

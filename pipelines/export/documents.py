"""Documents on their way from shards into files: a few rows at a time, ids end to end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.export.plan import Piece, Plan

PROVENANCE = ("id", "modality", "source", "sha256")


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Some consecutive documents of a piece.

    Attributes:
        first: number of the first one among the documents of the split.
        ids: `[N]` in the format's dtype, all documents end to end.
        lengths: `int64 [n]`, ids of each.
        mask: `bool [N]`, which ids carry loss; `None` where no document says so.
        has_mask: `bool [n]`, which documents say so.
        rows: the other columns that were asked for.
    """

    first: int
    ids: np.ndarray
    lengths: np.ndarray
    mask: np.ndarray | None
    has_mask: np.ndarray
    rows: pa.RecordBatch

    def each(self) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        """Yield number, ids and loss mask (`None` where it says nothing) of each document."""
        start = 0
        ends, has_mask = np.cumsum(self.lengths).tolist(), self.has_mask.tolist()
        for number, (stop, has) in enumerate(zip(ends, has_mask, strict=True)):
            mask = self.mask[start:stop] if self.mask is not None and has else None
            yield self.first + number, self.ids[start:stop], mask
            start = stop

    def loss_mask(self) -> np.ndarray:
        """Return `bool [N]`: every id carries loss where nothing else is said."""
        return np.ones(len(self.ids), dtype=bool) if self.mask is None else self.mask


def read_documents(plan: Plan, piece: Piece, columns: Sequence[str] = ()) -> Iterator[Documents]:
    """Yield the documents of a piece, with `columns` beside what provenance needs.

    Raises:
        ShardError: a shard cannot be read.
    """
    masks = ["loss_mask"] if plan.has_loss_mask else []
    number = piece.first_sequence
    for batch in read_rows(plan, piece, ["ids", *masks, *PROVENANCE, *columns]):
        yield _documents(plan, number, batch)
        number += batch.num_rows


def read_rows(plan: Plan, piece: Piece, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of the rows of a piece.

    Raises:
        ShardError: a shard cannot be read.
    """
    wanted = plan.splits.index(piece.split)
    names = list(dict.fromkeys(columns))
    for stretch in piece.stretches:
        mine = plan.shards.split_numbers(stretch.shard) == wanted
        rows = plan.shards.batches(stretch.shard, stretch.start, stretch.stop, names)
        for first, batch in rows:
            chosen = mine[first : first + batch.num_rows]
            if not chosen.all():
                batch = batch.filter(pa.array(chosen))
            if batch.num_rows:
                yield batch


def _documents(plan: Plan, first: int, batch: pa.RecordBatch) -> Documents:
    column = batch.column("ids")
    offsets = column.offsets.to_numpy()
    ids = column.values.to_numpy()[offsets[0] : offsets[-1]].astype(plan.id_dtype, copy=False)
    lengths = np.diff(offsets).astype(np.int64)
    mask, has_mask = None, np.zeros(len(lengths), dtype=bool)
    if plan.has_loss_mask:
        masks = batch.column("loss_mask")
        has_mask = masks.is_valid().to_numpy(zero_copy_only=False)
        if has_mask.any():
            mask = np.ones(int(lengths.sum()), dtype=bool)
            mask[np.repeat(has_mask, lengths)] = masks.flatten().to_numpy(zero_copy_only=False)
    end_id = plan.settings.end_id
    if end_id is not None:
        # An end is learnt: it is what tells a decoder to stop.
        ids = _with_end(ids, lengths, end_id)
        mask = None if mask is None else _with_end(mask, lengths, True)
        lengths = lengths + 1
    return Documents(
        first=first,
        ids=ids,
        lengths=lengths,
        mask=mask,
        has_mask=has_mask,
        rows=batch.drop_columns([n for n in ("ids", "loss_mask") if n in batch.schema.names]),
    )


def _with_end(values: np.ndarray, lengths: np.ndarray, end: int | bool) -> np.ndarray:
    """Put `end` behind each document."""
    longer = np.full(len(values) + len(lengths), end, dtype=values.dtype)
    is_end = np.zeros(len(longer), dtype=bool)
    is_end[np.cumsum(lengths + 1) - 1] = True
    longer[~is_end] = values
    return longer

"""A batch of packed windows: ids, and where documents begin and end in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from dvse.errors import ConfigError

IGNORED_LABEL = -100


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """Windows of packed documents.

    What follows from the pieces (documents, positions, masks) is computed when it is first asked
    for, so a batch is cheap to make and to send between processes.

    Attributes:
        input_ids: `int64 [B, T]`.
        piece_starts: `int64 [P]`, where each piece of a document begins in the flattened batch;
            the padding at the end of a window is a piece, too.
        is_padding: `bool [P]`.
        row_mask: `bool [B, T]`, the loss masks of the rows, `None` where no row has one.

    >>> batch = PackedBatch(
    ...     input_ids=torch.tensor([[7, 8, 9, 0]]),
    ...     piece_starts=torch.tensor([0, 2, 3]),
    ...     is_padding=torch.tensor([False, False, True]),
    ... )
    >>> batch.document_ids.tolist(), batch.position_ids.tolist(), batch.labels.tolist()
    ([[0, 0, 1, -1]], [[0, 1, 0, 0]], [[-100, 8, -100, -100]])
    """

    input_ids: Tensor
    piece_starts: Tensor
    is_padding: Tensor
    row_mask: Tensor | None = None

    @cached_property
    def document_ids(self) -> Tensor:
        """`int32 [B, T]`: which document of its window an id belongs to, from 0; -1 on padding.

        Attention must not cross from one to another.
        """
        width = self.input_ids.shape[1]
        number = torch.arange(len(self.piece_starts), device=self.piece_starts.device)
        opens_window = self.piece_starts % width == 0
        first = torch.where(opens_window, number, 0).cummax(0).values
        values = torch.where(self.is_padding, -1, number - first).int()
        return self._spread(values)

    @cached_property
    def position_ids(self) -> Tensor:
        """`int64 [B, T]`: from 0 at each begin of a piece, 0 on padding."""
        at = torch.arange(self.input_ids.numel(), device=self.input_ids.device)
        positions = at.view_as(self.input_ids) - self._spread(self.piece_starts)
        return positions.masked_fill(self.document_ids < 0, 0)

    @cached_property
    def loss_mask(self) -> Tensor:
        """`bool [B, T]`: false on padding, on the first id of a piece, where the row says so.

        Nothing before the first id of a piece can predict it.
        """
        mask = self._spread(~self.is_padding).clone()
        mask.view(-1)[self.piece_starts] = False
        return mask if self.row_mask is None else mask & self.row_mask

    @property
    def labels(self) -> Tensor:
        """`int64 [B, T]`: the ids where the loss mask is true, -100 elsewhere; not shifted."""
        return self.input_ids.masked_fill(~self.loss_mask, IGNORED_LABEL)

    def attention_mask(self) -> Tensor:
        """Return `bool [B, 1, T, T]`, true where a query (row) may look at a key (column).

        Causal, and within one document; padding looks at itself only, so no row is empty.
        """
        same = self.document_ids[:, :, None] == self.document_ids[:, None, :]
        size = self.input_ids.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=same.device).tril()
        real = (self.document_ids >= 0)[:, :, None]
        itself = torch.eye(size, dtype=torch.bool, device=same.device)
        return ((same & causal & real) | itself)[:, None]

    def cumulative_lengths(self) -> Tensor:
        """Return `int32 [P + 1]`: where pieces begin in the flattened batch (flash attention)."""
        end = self.piece_starts.new_tensor([self.input_ids.numel()])
        return torch.cat([self.piece_starts, end]).int()

    def to(self, device: str | torch.device) -> "PackedBatch":
        """Return the batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "PackedBatch":
        """Return the batch in page-locked memory; a DataLoader asks for it."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "PackedBatch":
        return PackedBatch(
            input_ids=function(self.input_ids),
            piece_starts=function(self.piece_starts),
            is_padding=function(self.is_padding),
            row_mask=None if self.row_mask is None else function(self.row_mask),
        )

    def _spread(self, values: Tensor) -> Tensor:
        """Give each id the value of its piece: `[P]` → `[B, T]`."""
        lengths = self.cumulative_lengths().diff()
        spread = values.repeat_interleave(lengths, output_size=self.input_ids.numel())
        return spread.view_as(self.input_ids)


def _refuse_collation(batches: Sequence[PackedBatch], **_: Any) -> NoReturn:
    raise ConfigError(
        "a TokenDataset gives whole batches, so expected DataLoader(dataset, batch_size=None, …), "
        "received a DataLoader that would put batches together; say batch_size to the TokenDataset"
    )


# `DataLoader` puts batches of one together where nobody says batch_size=None; this is the place
# that torch documents for types of one's own.
default_collate_fn_map[PackedBatch] = _refuse_collation

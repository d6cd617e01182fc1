"""Attention over packed documents, document by document, for training on a processor.

A window holds several documents that do not see one another. With a mask every pair of a window's
ids is computed and most are thrown away, and the gradient of torch's fused attention in bf16 is
slow on a processor; here documents of about one length are taken together and nothing is computed
between them. On cards the fused kernels are faster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from model import DvseForCausalLM
from model.attention import sdpa_without_repeats

_NAME = "by_document"
_LENGTHS = (8, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512)


def attend_by_document(decoder: DvseForCausalLM) -> None:
    """Let a decoder attend document by document while it is trained on packed windows."""
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    decoder.attend_with(_NAME, DocumentAttention())


@dataclass(frozen=True, kw_only=True)
class Group:
    """Documents of about one length.

    Attributes:
        rows: `int64 [n, L]`, the place of each of their ids in the flattened batch; behind the end
            of a document the number of places.
    """

    rows: Tensor


class DocumentAttention:
    """A function for transformers' attention interface; see `DvsePreTrainedModel.attend_with`.

    It needs the positions of packed documents, which begin again at 0 at each, and no cache.
    """

    def __init__(self) -> None:
        self._positions: Tensor | None = None
        self._groups: tuple[Group, ...] = ()
        self._back = torch.empty(0, dtype=torch.int64)

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        position_ids: Tensor,
        scaling: float,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return `[B, T, heads, head_dim]` and `None`.

        Args:
            query: `[B, heads, T, head_dim]`; key, value: `[B, kv_heads, T, head_dim]`.
            attention_mask: read without gradients alone, when answers are sampled with a cache;
                else what `position_ids` `int64 [B, T]` say holds.
            scaling: of the scores.
        """
        if not torch.is_grad_enabled():  # an answer that is sampled on the way, with a cache
            return sdpa_without_repeats(
                module, query, key, value, attention_mask, scaling=scaling, **kwargs
            )
        batch, heads, length, width = query.shape
        self._read(position_ids, batch)
        heads_of = [(query * scaling).to(value.dtype), key.to(value.dtype), value]
        flat = torch.cat(heads_of, dim=1).transpose(1, 2).flatten(0, 1)
        flat = torch.cat([flat, flat.new_zeros(1, *flat.shape[1:])]).flatten(1)
        outputs = []
        for group in self._groups:
            count, longest = group.rows.shape
            taken = flat.index_select(0, group.rows.flatten())
            taken = taken.view(count, longest, -1, width).transpose(1, 2)
            q, k, v = taken.split([heads, key.shape[1], key.shape[1]], dim=1)
            outputs.append(_attend(q, k, v).transpose(1, 2).reshape(count * longest, -1))
        rows = torch.cat(outputs).index_select(0, self._back)
        return rows.view(batch, length, heads, width), None

    def _read(self, positions: Tensor, batch: int) -> None:
        """Group the documents; the layers of a step share the work."""
        if self._positions is positions:
            return
        groups = tuple(_groups(positions.expand(batch, -1)))
        at = torch.cat([group.rows.flatten() for group in groups])
        back = torch.empty(batch * positions.shape[1] + 1, dtype=torch.int64)
        back[at] = torch.arange(len(at))
        self._positions, self._groups, self._back = positions, groups, back[:-1]


def _groups(positions: Tensor) -> Iterator[Group]:
    """Yield the documents of packed windows, `int64 [B, T]` positions, by length.

    >>> [group.rows.tolist() for group in _groups(torch.tensor([[0, 1, 2, 0, 1]]))]
    [[[0, 1, 2], [3, 4, 5]]]
    """
    is_start = torch.ones_like(positions, dtype=torch.bool)
    is_start[:, 1:] = positions[:, 1:] != positions[:, :-1] + 1
    starts = is_start.flatten().nonzero()[:, 0]
    size = positions.numel()
    lengths = torch.diff(starts, append=starts.new_tensor([size]))
    kinds = torch.bucketize(lengths, torch.tensor(_LENGTHS))
    for kind in kinds.unique():
        chosen = kinds == kind
        places = torch.arange(int(lengths[chosen].max()))
        rows = starts[chosen, None] + places
        yield Group(rows=rows.masked_fill(places >= lengths[chosen, None], size))


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return causal attention `[n, heads, L, width]`; keys are read in place by their group."""
    count, heads, length, width = query.shape
    if length > _LENGTHS[-1]:  # all pairs at once would not fit, and blocks of the kernel are full
        return F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=1.0, enable_gqa=True
        )
    shared = heads // key.shape[1]
    with torch.autocast(query.device.type, enabled=False):
        rows = query.reshape(count, -1, shared * length, width)
        scores = (rows @ key.transpose(-1, -2)).view(count, -1, shared, length, length)
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, float("-inf")).softmax(-1)
        output = weights.view(count, -1, shared * length, length) @ value
    return output.view(count, heads, length, width)

"""Grouped-query attention in two matrix products, as every runtime knows them."""

from typing import Any

import torch
from torch import nn


def grouped_products(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend without a kernel of its own; the heads of a group are rows of one product.

    What `model.plain.attention.grouped_attention` gives, without branches that a trace would take.

    Args:
        query: `[B, heads, T, head_dim]`; key, value: `[B, kv_heads, S, head_dim]`.
        attention_mask: `[B, 1, T, S]`, added to the scores.

    Returns:
        `[B, T, heads, head_dim]` and `None`.

    Example:
        >>> ones = torch.ones(1, 1, 2, 4)
        >>> output, _ = grouped_products(None, ones.repeat(1, 2, 1, 1), ones, 3 * ones,
        ...                              torch.zeros(1, 1, 2, 2), scaling=0.5)
        >>> output.shape, float(output.mean())
        (torch.Size([1, 2, 2, 4]), 3.0)
    """
    batch, heads, num_queries, head_dim = query.shape
    key_heads = key.shape[1]
    rows = heads // key_heads * num_queries
    grouped = (query * scaling).reshape(batch, key_heads, rows, head_dim)
    scores = grouped @ key.transpose(2, 3)
    scores = scores.reshape(batch, heads, num_queries, -1)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1).reshape(batch, key_heads, rows, -1)
    output = (weights @ value).reshape(batch, heads, num_queries, head_dim)
    return output.transpose(1, 2), None

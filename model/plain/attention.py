"""Grouped-query attention on torch alone: several query heads read one key/value head.

Projections, positions and cache; how scores become an output is `attend`, which the full decoder
takes from transformers' interface and a server from its own cache.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..joint_product import JointProduct, joint_product
from ..linear import Linear
from ..rotary import RotaryTable, rotate_both
from .norm import PlainRMSNorm


class PlainAttention(nn.Module):
    """Attention over `num_key_value_heads` shared key/value heads.

    Source: Ainslie et al., *GQA*, 2023; Shazeer, *Fast Transformer Decoding*, 2019 (one head).

    Attributes:
        function: what attends, `grouped_attention` unless another is set.
    """

    function: Callable[..., tuple[torch.Tensor, torch.Tensor | None]]

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx: int = layer_idx
        self.head_dim: int = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = True
        self.function = grouped_attention
        query_size = config.num_attention_heads * self.head_dim
        key_size = config.num_key_value_heads * self.head_dim
        self.q_proj = Linear(config.hidden_size, query_size, bias=config.attention_bias)
        self.k_proj = Linear(config.hidden_size, key_size, bias=config.attention_bias)
        self.v_proj = Linear(config.hidden_size, key_size, bias=config.attention_bias)
        self.o_proj = Linear(query_size, config.hidden_size, bias=False)
        eps, has_norms = config.rms_norm_eps, config.use_qk_norm
        self.q_norm = PlainRMSNorm(self.head_dim, eps=eps) if has_norms else None
        self.k_norm = PlainRMSNorm(self.head_dim, eps=eps) if has_norms else None
        self.joint: JointProduct | None = None  # of quantized projections, made when it is used

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: RotaryTable,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend from `[B, T, hidden_size]` to the same tokens and those in the cache.

        Returns:
            `[B, T, hidden_size]`, and the weights `[B, heads, T, S]` where the implementation
            gives them.
        """
        heads = self.heads(hidden_states, position_embeddings, past_key_values)
        output, weights = self.function(
            self, *heads, attention_mask, scaling=self.scaling, **kwargs
        )
        return self.o_proj(output.reshape(*hidden_states.shape[:-1], -1)), weights

    def heads(
        self, hidden_states: torch.Tensor, position_embeddings: RotaryTable, past_key_values: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return rotated queries `[B, heads, T, head_dim]`, and keys and values of all tokens."""
        query, key, value = self.projected(hidden_states)
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = rotate_both(query, key, position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        return query, key, value

    def projected(self, hidden_states: torch.Tensor) -> list[torch.Tensor]:
        """Return queries, keys and values `[B, heads, T, head_dim]` as they are projected."""
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        layers = (self.q_proj, self.k_proj, self.v_proj)
        joint = joint_product(layers, hidden_states, self.joint)
        if joint is None:
            return [layer(hidden_states).view(shape).transpose(1, 2) for layer in layers]
        self.joint = joint
        counts = [layer.out_features // self.head_dim for layer in layers]
        return list(joint.whole(hidden_states).view(shape).transpose(1, 2).split(counts, dim=1))


def grouped_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention that never copies keys and values for the heads of a group.

    One query token: the heads of a group become the query rows of their key/value head, one product
    instead of `num_key_value_groups`. Several: the kernel's own grouping.

    Args:
        query: `[B, heads, T, head_dim]`; key, value: `[B, kv_heads, S, head_dim]`.
        attention_mask: `[B, 1, T, S]`, bool or additive; without one the T tokens are the first
            and see what stands before them, or the one token sees all.

    Returns:
        `[B, T, heads, head_dim]` and `None`.
    """
    batch, heads, num_queries, head_dim = query.shape
    key_heads = key.shape[1]
    if num_queries == 1:
        rows = query.reshape(batch, key_heads, heads // key_heads, head_dim)
        output = F.scaled_dot_product_attention(
            rows, key, value, attn_mask=attention_mask, scale=scaling
        )
        return output.reshape(batch, 1, heads, head_dim), None
    output = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        is_causal=attention_mask is None,
        scale=scaling,
        enable_gqa=heads > key_heads,
    )
    return output.transpose(1, 2), None

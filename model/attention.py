"""Grouped-query attention: several query heads read one key/value head.

GLM's attention (its parameters, its cache, transformers' attention interface), with two changes
that alter no result: positions are applied with `rotate`, and scaled-dot-product attention on a CPU
never copies keys and values once for each query head of a group. Any number of key/value heads that
divides the query heads works; one is multi-query attention, all of them is multi-head attention.

Deviations from the article's listing (`GroupedQueryAttention`), each with a test:

- its forward reads `self.num_heads`, which its constructor never sets; here the head count is a
  checked field of the configuration;
- it divides the scores by the square root of the model width; here by the square root of the head
  width, the variance of a product of two heads (Vaswani et al., 2017, section 3.2.1);
- it has no causal mask, so a token would read its future; here every implementation is causal;
- it has neither positions nor a cache; here both are GLM's.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.glm.modeling_glm import GlmAttention, eager_attention_forward

from .configuration_dvse import DvseConfig
from .linear import Linear
from .rotary import RotaryTable, rotate


class GroupedQueryAttention(GlmAttention):
    """GLM's attention over `num_key_value_heads` shared key/value heads.

    Source: Ainslie et al., *GQA*, 2023; Shazeer, *Fast Transformer Decoding*, 2019 (one head).
    """

    def __init__(self, config: DvseConfig, layer_idx: int) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.layer_idx: int = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_key_value_groups
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = True
        query_size = config.num_attention_heads * self.head_dim
        key_size = config.num_key_value_heads * self.head_dim
        self.q_proj = Linear(config.hidden_size, query_size, bias=config.attention_bias)
        self.k_proj = Linear(config.hidden_size, key_size, bias=config.attention_bias)
        self.v_proj = Linear(config.hidden_size, key_size, bias=config.attention_bias)
        self.o_proj = Linear(query_size, config.hidden_size, bias=False)

    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        position_embeddings: RotaryTable,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend from `[B, T, hidden_size]` to the same tokens and those in the cache.

        Returns:
            `[B, T, hidden_size]`, and the weights `[B, heads, T, S]` where the implementation
            gives them.
        """
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        query, key = rotate(query, position_embeddings), rotate(key, position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)

        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        if attend is sdpa_attention_forward:
            attend = sdpa_without_repeats
        output, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(output.reshape(*shape[:-2], -1)), weights


def sdpa_without_repeats(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scaled dot-product attention of transformers; on a CPU, groups are read in place.

    One query token: the heads of a group become the query rows of their key/value head, one product
    instead of `num_key_value_groups`. Several, with a mask: the kernel's own grouping, where
    transformers repeats keys and values. All other cases are transformers' function itself.

    Args:
        query: `[B, heads, T, head_dim]`; key, value: `[B, kv_heads, S, head_dim]`.
        attention_mask: `[B, 1, T, S]`, bool or additive, or `None`.

    Returns:
        `[B, T, heads, head_dim]` and `None`.
    """
    batch, heads, num_queries, head_dim = query.shape
    key_heads = key.shape[1]
    is_plain = not torch.is_grad_enabled() and query.device.type == "cpu" and heads > key_heads
    is_plain = is_plain and kwargs.get("cache") is None and kwargs.get("position_bias") is None
    is_plain = is_plain and kwargs.get("is_causal") is not False
    if is_plain and num_queries == 1:
        rows = query.reshape(batch, key_heads, heads // key_heads, head_dim)
        scaling = kwargs.get("scaling")
        output = F.scaled_dot_product_attention(
            rows, key, value, attn_mask=attention_mask, scale=scaling
        )
        return output.reshape(batch, 1, heads, head_dim), None
    if is_plain and attention_mask is not None:
        output = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=attention_mask,
            scale=kwargs.get("scaling"),
            enable_gqa=True,
        )
        return output.transpose(1, 2), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

"""Grouped-query attention: several query heads read one key/value head.

GLM's attention (its parameters, its cache, transformers' attention interface), with two changes
that alter no result: positions are applied with `rotate`, and scaled-dot-product attention on a CPU
never copies keys and values once for each query head of a group. Any number of key/value heads that
divides the query heads works; one is multi-query attention, all of them is multi-head attention.
Projections, positions and cache are `plain.attention`'s.

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
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.glm.modeling_glm import eager_attention_forward

from .configuration_dvse import DvseConfig
from .plain.attention import PlainAttention, grouped_attention
from .rotary import RotaryTable


class GroupedQueryAttention(PlainAttention):
    """`PlainAttention` by whichever of transformers' implementations the configuration names."""

    def __init__(self, config: DvseConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.attention_dropout = config.attention_dropout

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: RotaryTable,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Do what `PlainAttention.forward` does; vLLM reads in this source where it can step in."""
        heads = self.heads(hidden_states, position_embeddings, past_key_values)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attend = sdpa_without_repeats if attend is sdpa_attention_forward else attend
        output, weights = attend(
            self,
            *heads,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(output.reshape(*hidden_states.shape[:-1], -1)), weights


def sdpa_without_repeats(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scaled dot-product attention of transformers; on a CPU, groups are read in place.

    `grouped_attention` for one query token, and for several with a mask, where transformers repeats
    keys and values. All other cases are transformers' function itself.

    Args:
        query: `[B, heads, T, head_dim]`; key, value: `[B, kv_heads, S, head_dim]`.
        attention_mask: `[B, 1, T, S]`, bool or additive, or `None`.

    Returns:
        `[B, T, heads, head_dim]` and `None`.
    """
    is_plain = not torch.is_grad_enabled() and query.device.type == "cpu"
    is_plain = is_plain and query.shape[1] > key.shape[1]
    is_plain = is_plain and kwargs.get("cache") is None and kwargs.get("position_bias") is None
    is_plain = is_plain and kwargs.get("is_causal") is not False
    if is_plain and (query.shape[2] == 1 or attention_mask is not None):
        return grouped_attention(
            module, query, key, value, attention_mask, scaling=kwargs.get("scaling")
        )
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

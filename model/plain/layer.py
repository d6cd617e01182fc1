"""One layer of the decoder: attention, then an FFN behind an optional gate, each with its residual.

The full decoder's layer is this one with transformers' parts in the places that are named here.
"""

from typing import Any, ClassVar

import torch
from torch import nn

from ..gated_ffn import run_gated
from ..rotary import RotaryTable
from ..token_gate import TokenGate
from .attention import PlainAttention
from .feed_forward import PlainFFN
from .norm import PlainRMSNorm


class PlainLayer(nn.Module):
    """Maps `[B, T, hidden_size]` to the same shape."""

    attention_class: ClassVar[type[PlainAttention]] = PlainAttention
    norm_class: ClassVar[type[PlainRMSNorm]] = PlainRMSNorm

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.hidden_size = config.hidden_size
        self.layer_idx = layer_idx
        self.self_attn = self.attention_class(config, layer_idx)
        self.mlp: Any = self.make_ffn(config, layer_idx)
        self.token_gate = TokenGate(config.hidden_size) if config.use_token_gate else None
        self.input_layernorm = self.norm_class(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = self.norm_class(config.hidden_size, eps=config.rms_norm_eps)

    def make_ffn(self, config: Any, layer_idx: int) -> nn.Module:
        """Return what stands behind the gate."""
        return PlainFFN(config.hidden_size, config.intermediate_size, nn.SiLU())

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = False,
        position_embeddings: RotaryTable | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Map `[B, T, hidden_size]` to the same shape."""
        attended, _ = self.self_attn(
            hidden_states=self.input_layernorm(hidden_states),
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            position_embeddings=position_embeddings,
            **kwargs,
        )
        residual = hidden_states + attended
        normed = self.post_attention_layernorm(residual)
        if self.token_gate is None:
            return residual + self.mlp(normed)
        return run_gated(
            self.mlp,
            normed,
            residual,
            self.token_gate(normed),
            self.config.gate_threshold(self.layer_idx),
            training=self.training,
        )

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
        self.post_self_attn_layernorm = self.post_mlp_layernorm = None
        if config.use_sandwich_norm:  # GLM-4-0414: behind both, too
            size, eps = config.hidden_size, config.rms_norm_eps
            self.post_self_attn_layernorm = self.norm_class(size, eps=eps)
            self.post_mlp_layernorm = self.norm_class(size, eps=eps)

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
        if self.post_self_attn_layernorm is not None:
            attended = self.post_self_attn_layernorm(attended)
        residual = hidden_states + attended
        normed = self.post_attention_layernorm(residual)
        if self.token_gate is None:
            return residual + self._feed_forward(normed)
        return run_gated(
            self._feed_forward,
            normed,
            residual,
            self.token_gate(normed),
            self.config.gate_threshold(self.layer_idx),
            training=self.training,
        )

    def _feed_forward(self, normed: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.mlp(normed)
        return output if self.post_mlp_layernorm is None else self.post_mlp_layernorm(output)

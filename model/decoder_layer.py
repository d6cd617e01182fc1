"""One layer of the decoder: attention, then a dense, gated or expert FFN."""

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.glm.modeling_glm import GlmDecoderLayer, GlmMLP

from .attention import GroupedQueryAttention
from .configuration_dvse import DvseConfig
from .experts import MixtureOfExperts
from .gated_ffn import run_gated
from .linear import Linear
from .norm import RMSNorm
from .rotary import RotaryTable
from .token_gate import TokenGate


class DenseFFN(GlmMLP):
    """GLM's FFN: down(up · act(gate)), `[..., hidden_size]` to the same shape."""

    def __init__(self, config: DvseConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.gate_up_proj = Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.activation_fn = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Run the FFN; without gradients the product is taken in place."""
        gate, up = self.gate_up_proj(hidden_states).chunk(2, dim=-1)
        gate = self.activation_fn(gate)
        return self.down_proj(up * gate if torch.is_grad_enabled() else gate.mul_(up))


class DvseDecoderLayer(GlmDecoderLayer):
    """Attention, then an FFN or experts behind an optional gate, each with its residual."""

    def __init__(self, config: DvseConfig, layer_idx: int) -> None:
        GradientCheckpointingLayer.__init__(self)
        self.config = config
        self.hidden_size = config.hidden_size
        self.layer_idx = layer_idx
        self.self_attn = GroupedQueryAttention(config, layer_idx)
        is_routed = config.is_expert_layer(layer_idx)
        self.mlp: Any = MixtureOfExperts(config, layer_idx) if is_routed else DenseFFN(config)
        self.token_gate = TokenGate(config.hidden_size) if config.use_token_gate else None
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
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

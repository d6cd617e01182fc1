"""One layer of the decoder as transformers knows it: checkpointing, its attention, experts."""

from typing import Any

from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention import GroupedQueryAttention
from .experts import MixtureOfExperts
from .norm import RMSNorm
from .plain.feed_forward import PlainFFN
from .plain.layer import PlainLayer


class DvseDecoderLayer(GradientCheckpointingLayer, PlainLayer):
    """Attention, then an FFN or experts behind an optional gate, each with its residual."""

    attention_class = GroupedQueryAttention
    norm_class = RMSNorm

    def make_ffn(self, config: Any, layer_idx: int) -> nn.Module:
        """Return the experts of a layer that has some, and a dense FFN otherwise."""
        if config.is_expert_layer(layer_idx):
            return MixtureOfExperts(config, layer_idx)
        activation = ACT2FN[config.hidden_act]
        return PlainFFN(config.hidden_size, config.intermediate_size, activation)

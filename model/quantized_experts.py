"""Routed experts whose stacked weights are 8 or 4 bits: each expert is two quantized products.

transformers' quantizers leave the stacked experts of a layer as they are, and in a mixture of
experts these are nearly all weights.
"""

import torch
from torch import nn

from .experts import Experts
from .quantized_linear import Int4Linear, Int8Linear, QuantizedLinear


class QuantizedExperts(nn.Module):
    """The routed experts of one layer, `[N, hidden_size]` to the same shape.

    An expert's rows are gathered, pass its two products and are added up with their weights, as in
    the loop that transformers' kernels stand in for (GLM-4.5 technical report, 2025).
    """

    def __init__(self, experts: Experts, *, bits: int, group_size: int) -> None:
        super().__init__()
        self.num_experts, self.act_fn = experts.num_experts, experts.act_fn
        _, width, hidden = experts.gate_up_proj.shape
        self.gate_up_projs = nn.ModuleList(
            empty_linear(hidden, width, bits=bits, group_size=group_size)
            for _ in range(self.num_experts)
        )
        self.down_projs = nn.ModuleList(
            empty_linear(width // 2, hidden, bits=bits, group_size=group_size)
            for _ in range(self.num_experts)
        )

    @classmethod
    def of(cls, experts: Experts, *, bits: int, group_size: int) -> "QuantizedExperts":
        """Quantize stacked experts."""
        layer = cls(experts, bits=bits, group_size=group_size)
        stacks = (
            (layer.gate_up_projs, experts.gate_up_proj),
            (layer.down_projs, experts.down_proj),
        )
        for modules, stack in stacks:
            for number, weight in enumerate(stack):
                modules[number] = quantized(weight, None, bits=bits, group_size=group_size)
        return layer

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Add up each row's weighted experts.

        Args:
            hidden_states: `[N, hidden_size]`.
            top_k_index, top_k_weights: `[N, num_experts_per_tok]`.
        """
        output = torch.zeros_like(hidden_states)
        for number in torch.unique(top_k_index).tolist():
            rows, places = torch.where(top_k_index == number)
            picked = hidden_states.index_select(0, rows)
            gate, up = self.gate_up_projs[number](picked).chunk(2, dim=-1)
            done = self.down_projs[number](self.act_fn(gate) * up)
            weighted = done * top_k_weights[rows, places].unsqueeze(-1)
            output.index_add_(0, rows, weighted.to(output.dtype))
        return output


def empty_linear(
    in_features: int, out_features: int, *, bits: int, group_size: int, bias: bool = False
) -> QuantizedLinear:
    """Return a layer to load integers into."""
    if bits == 8:
        return Int8Linear(in_features, out_features, bias=bias)
    return Int4Linear(in_features, out_features, bias=bias, group_size=group_size)


def quantized(
    weight: torch.Tensor, bias: torch.Tensor | None, *, bits: int, group_size: int
) -> QuantizedLinear:
    """Return a layer with the integers of `weight`."""
    if bits == 8:
        return Int8Linear.of(weight, bias)
    return Int4Linear.of(weight, bias, group_size=group_size)

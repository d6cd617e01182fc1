"""GLM's feed-forward network: down(up · act(gate))."""

import torch
from torch import nn

from ..linear import Linear


class PlainFFN(nn.Module):
    """GLM's FFN, `[..., hidden_size]` to the same shape; gate and up are one product."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation: nn.Module) -> None:
        super().__init__()
        self.gate_up_proj = Linear(hidden_size, 2 * intermediate_size, bias=False)
        self.down_proj = Linear(intermediate_size, hidden_size, bias=False)
        self.activation_fn = activation

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Run the FFN; without gradients the product is taken in place."""
        gate, up = self.gate_up_proj(hidden_states).chunk(2, dim=-1)
        gate = self.activation_fn(gate)
        return self.down_proj(up * gate if torch.is_grad_enabled() else gate.mul_(up))

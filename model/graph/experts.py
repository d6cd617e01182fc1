"""Routed experts without data-dependent branches: each expert takes its own rows, and no others."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class UnrolledExperts(nn.Module):
    """The experts of one layer, one after the other; stands in for `model.experts.Experts`.

    An expert gathers the rows that chose it, runs and adds its weighted result back. Where no row
    did, its products have no rows, which costs a runtime next to nothing. Weights are matrices of
    their own, so that quantizers find them.

    Args:
        experts: `gate_up_proj` `[E, 2·I, H]` and `down_proj` `[E, H, I]`.
    """

    def __init__(self, experts: Any) -> None:
        super().__init__()
        self.activation = experts.act_fn
        self.gate_up = nn.ParameterList(w.detach().clone() for w in experts.gate_up_proj)
        self.down = nn.ParameterList(w.detach().clone() for w in experts.down_proj)

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Add up each row's weighted experts, `[N, hidden_size]` to the same shape.

        Args:
            hidden_states: `[N, hidden_size]`.
            top_k_index, top_k_weights: the experts of each row and their weights, `[N, k]`.
        """
        output = torch.zeros_like(hidden_states)
        for number, (gate_up, down) in enumerate(zip(self.gate_up, self.down, strict=True)):
            is_mine = top_k_index == number
            rows = is_mine.any(dim=1).nonzero().squeeze(-1)
            weights = torch.where(is_mine, top_k_weights, 0.0).sum(dim=1).index_select(0, rows)
            gate, up = F.linear(hidden_states.index_select(0, rows), gate_up).chunk(2, dim=-1)
            done = F.linear(self.activation(gate) * up, down) * weights.unsqueeze(-1)
            output = output.index_copy(0, rows, output.index_select(0, rows) + done)
        return output

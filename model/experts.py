"""Mixture of experts in GLM-4.5's layout, on transformers' own router and expert kernels.

Each token goes to its `num_experts_per_tok` best of `n_routed_experts` small FFNs; shared experts
see every token. Parameters carry GLM-4.5's names (`mlp.gate`, `mlp.experts`, `mlp.shared_experts`).
"""

import inspect
from typing import Any

import torch
from torch import nn
from transformers.models.glm4_moe.modeling_glm4_moe import (
    Glm4MoeExperts,
    Glm4MoeMLP,
    Glm4MoeTopkRouter,
)

from .configuration_dvse import DvseConfig
from .together import Together

# The loop over experts that transformers' kernels stand in for.
_one_by_one = inspect.unwrap(Glm4MoeExperts.forward)


class Router(Glm4MoeTopkRouter):
    """GLM-4.5's router: sigmoid scores, best groups, best experts, weights that sum to a scale.

    Returns for `[N, hidden_size]` the logits `[N, experts]`, and weights and expert numbers
    `[N, num_experts_per_tok]`.
    """


class RoutedLayer(nn.Module):
    """Says, where a call is recorded, that the experts of a layer ran; has no weights.

    A gate may skip a layer for a whole batch: then nothing of it is recorded.
    """

    def __init__(self, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx

    def forward(self) -> tuple[int]:
        """Return the layer's number."""
        return (self.layer_idx,)


class Experts(Glm4MoeExperts):
    """The routed experts, stacked: `gate_up_proj` `[E, 2·I, H]` and `down_proj` `[E, H, I]`."""

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Add up each row's weighted experts, `[N, hidden_size]` to the same shape.

        The grouped kernel wants rows of whole 16 bytes; other widths go expert by expert.
        """
        config: Any = self.config
        if config._experts_implementation == "grouped_mm" and not self._is_aligned():
            return _one_by_one(self, hidden_states, top_k_index, top_k_weights)
        return super().forward(hidden_states, top_k_index, top_k_weights)

    def _is_aligned(self) -> bool:
        weights: list[Any] = [self.gate_up_proj, self.down_proj]
        # Under tensor parallelism: this device's part of them.
        parts = [weight.to_local() if hasattr(weight, "to_local") else weight for weight in weights]
        return all(part.shape[-1] * part.element_size() % 16 == 0 for part in parts)


class MixtureOfExperts(nn.Module):
    """Routed and shared experts of one layer: `[..., hidden_size]` to the same shape.

    Source: GLM-4.5 technical report, 2025; DeepSeek-V3, 2024, eq. 12-16.
    """

    def __init__(self, config: DvseConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.routed_layer = RoutedLayer(layer_idx)
        self.experts = Experts(config)
        self.gate = Router(config)  # type: ignore[arg-type]
        self.shared_experts = None
        if config.n_shared_experts:
            width = config.moe_intermediate_size * config.n_shared_experts
            self.shared_experts = Glm4MoeMLP(config=config, intermediate_size=width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Add up, for each token, its experts' weighted outputs and the shared experts'."""
        self.routed_layer()
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        _, weights, expert_ids = self.gate(rows)
        output = self.experts(rows, expert_ids, weights).view_as(hidden_states)
        if self.shared_experts is not None:
            output = output + self.shared_experts(hidden_states)
        return output


def load_balance_loss(
    router_logits: tuple[torch.Tensor, ...],
    num_experts_per_tok: int,
    row_masks: list[torch.Tensor],
    together: Together | None = None,
) -> torch.Tensor:
    """How unevenly experts are used; 1 where all are used alike, more otherwise.

    experts · Σ_i f_i · p_i, where f_i is the share of choices that fell on expert i and p_i its
    mean share of a token's scores; averaged over layers.

    Args:
        router_logits: one `[N, experts]` a layer; scores are their sigmoid.
        num_experts_per_tok: choices a token.
        row_masks: for each layer `[N]`, 0 where a row does not count (padding).
        together: the processes that have parts of the batch; the mean of what they get, and of its
            gradients, is that of the whole batch.

    Source: DeepSeek-V3, 2024, eq. 17-20 (sigmoid scores, normalised). *Deviations*: over the whole
    batch, as in Switch Transformers (2021, eq. 4), not a sequence; choices by score, without the
    correction bias, as it is not trained by this loss.
    """
    losses = []
    for logits, mask in zip(router_logits, row_masks, strict=True):
        scores = logits.float().sigmoid()
        chosen = torch.zeros_like(scores).scatter(
            1, scores.topk(num_experts_per_tok, dim=-1).indices, 1.0
        )
        shares = scores / scores.sum(dim=-1, keepdim=True)
        weight = mask.to(shares).unsqueeze(-1)
        count, counted = weight.sum().clamp(min=1.0), (chosen * weight).sum(dim=0)
        share = (shares * weight).sum(dim=0)
        if together is not None:
            sums = together.add_up(torch.cat((counted, count[None])))
            counted, count, share = sums[:-1], sums[-1], share * together.count
        frequency = counted / (count * num_experts_per_tok)
        losses.append(scores.shape[-1] * (frequency * share / count).sum())
    return torch.stack([loss.to(losses[0].device) for loss in losses]).mean()

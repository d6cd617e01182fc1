"""The losses beside the next-token loss: how evenly experts are used, how many gates are open.

They are made of what the model has recorded. A layer whose gates are all closed runs no router, so
that the recorder says which layers were routed.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch

from .configuration_dvse import DvseConfig
from .experts import load_balance_loss
from .together import Together
from .token_gate import budget_loss


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a call needs of routers and gates, and what of it is given back.

    Attributes:
        gives_router, gives_gates: whether their logits are given back.
        needs_router, needs_gates: whether they have to be recorded.
        needs_budget: whether the gates' loss is wanted; that of experts is wherever there are
            router logits.
    """

    gives_router: bool = False
    gives_gates: bool = False
    needs_router: bool = False
    needs_gates: bool = False
    needs_budget: bool = False

    @classmethod
    def by(cls, router: bool | None, gates: bool | None, *, has_loss: bool, adds: bool) -> Self:
        """Decide what is needed.

        Args:
            router, gates: whether logits are asked for; `None` where the model has no such thing.
            has_loss: whether the call has labels.
            adds: whether these losses are added to that of the labels.
        """
        needs_router = router is not None and (router or adds)
        needs_gates = gates is not None and (gates or adds or needs_router)
        return cls(
            gives_router=bool(router),
            gives_gates=bool(gates),
            needs_router=needs_router,
            needs_gates=needs_gates,
            needs_budget=needs_gates and (bool(gates) or has_loss),
        )

    @property
    def flags(self) -> dict[str, bool]:
        """Arguments that make the model record what is needed; empty where that is nothing."""
        if not (self.needs_router or self.needs_gates):
            return {}
        return {
            "output_router_logits": self.needs_router,
            "output_routed_layers": self.needs_router,
            "output_gate_logits": self.needs_gates,
        }


@dataclass(frozen=True, kw_only=True)
class AuxiliaryLosses:
    """Unweighted scalars, `None` where they are not wanted."""

    load_balance: torch.Tensor | None
    budget: torch.Tensor | None

    def weighted(self, config: DvseConfig, is_training: bool) -> torch.Tensor | None:
        """Return what they add to a loss: the gates' counts in training alone."""
        parts = []
        if self.load_balance is not None:
            parts.append(config.router_aux_loss_coef * self.load_balance)
        if self.budget is not None and is_training:
            parts.append(config.gate_loss_coef * self.budget)
        return None if not parts else sum(parts[1:], parts[0])

    def added_to(self, loss: torch.Tensor, config: DvseConfig, is_training: bool) -> torch.Tensor:
        """Return the loss with both, weighted."""
        more = self.weighted(config, is_training)
        return loss if more is None else loss + more.to(loss.device)


def auxiliary_losses(
    config: DvseConfig,
    outputs: Any,
    attention_mask: torch.Tensor | None,
    wanted: Wanted,
    together: Together | None = None,
) -> AuxiliaryLosses:
    """Return the wanted losses of one forward pass.

    Args:
        outputs: of `DvseModel`, with what `wanted.flags` makes it record.
        attention_mask: `[B, S]`, 0 where a token is padding and counts nowhere; another form
            counts all.
        together: the processes that have parts of the batch.
    """
    load_balance = budget = None
    counted = _counted(attention_mask, outputs.last_hidden_state)
    if wanted.needs_router:
        load_balance = _load_balance(config, outputs, counted, together)
    if wanted.needs_budget:
        thresholds = [config.gate_threshold(i) for i in range(config.num_hidden_layers)]
        target = config.gate_target_share
        budget = budget_loss(outputs.gate_logits, thresholds, target, counted, together)
    return AuxiliaryLosses(load_balance=load_balance, budget=budget)


def _load_balance(
    config: DvseConfig, outputs: Any, counted: torch.Tensor | None, together: Together | None
) -> torch.Tensor:
    """Count the rows that were routed: of real tokens, where closed ones were left out of open."""
    if not outputs.routed_layers:
        return outputs.last_hidden_state.new_zeros(())
    if counted is None:
        counted = torch.ones(outputs.last_hidden_state.shape[:2])
    masks = []
    for layer_idx, logits in zip(outputs.routed_layers, outputs.router_logits, strict=True):
        mask = counted.reshape(-1).to(logits.device)
        if len(logits) < len(mask):
            is_open = outputs.gate_logits[layer_idx] >= config.gate_threshold(layer_idx)
            mask = mask[is_open.reshape(-1).to(mask.device)]
        masks.append(mask)
    return load_balance_loss(outputs.router_logits, config.num_experts_per_tok, masks, together)


def _counted(
    attention_mask: torch.Tensor | None, hidden_states: torch.Tensor
) -> torch.Tensor | None:
    """The part `[B, T]` of a 2-D attention mask that belongs to the tokens at hand."""
    if attention_mask is None or attention_mask.dim() != 2:
        return None
    return attention_mask[:, -hidden_states.shape[1] :]

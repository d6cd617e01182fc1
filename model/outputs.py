"""What the decoder gives back: transformers' outputs, with gates and routes beside them."""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast


@dataclass
class DvseModelOutput(BaseModelOutputWithPast):
    """What `DvseModel` returns.

    Attributes:
        last_hidden_state: `[B, T, hidden_size]`.
        past_key_values: the cache, where one is used.
        router_logits: one `[N, experts]` a layer with experts, where asked for.
        routed_layers: the layers whose experts ran, in the order of `router_logits`; a layer whose
            gates are all closed is left out.
        gate_logits: one `[B, T]` a layer with a gate, where asked for.
    """

    router_logits: tuple[torch.Tensor, ...] | None = None
    routed_layers: tuple[int, ...] | None = None
    gate_logits: tuple[torch.Tensor, ...] | None = None


@dataclass
class DvseCausalLMOutput(CausalLMOutputWithPast):
    """What `DvseForCausalLM` returns.

    Attributes:
        loss: next-token loss, in training with the budget and load-balance losses added.
        logits: `[B, T, vocab_size]`, or `[N, vocab_size]` where only labelled positions have some.
        past_key_values: the cache, where one is used.
        aux_loss: load-balance loss, unweighted, where the model has experts.
        budget_loss: the gates' budget loss, unweighted, where the model has gates.
        router_logits, gate_logits: as in `DvseModelOutput`.
    """

    aux_loss: torch.Tensor | None = None
    budget_loss: torch.Tensor | None = None
    router_logits: tuple[torch.Tensor, ...] | None = None
    gate_logits: tuple[torch.Tensor, ...] | None = None

"""The token gate: one number a token that says whether the layer's FFN runs for it.

The dynamic FFN pruning of the article, made correct. A gate sees one token's normalised hidden
state and nothing else, so it is causal, independent of batch neighbours and padding, and the same
in prefill and in decoding. This file knows the gate, its straight-through estimate and its budget;
`gated_ffn` knows how to skip.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .together import Together

# For quantisers: a gate in low precision flips, so its projection stays as it is.
FULL_PRECISION_MODULES = (r".*\.token_gate",)


class TokenGate(nn.Module):
    """Logit of the probability that a token's FFN runs: `[..., hidden_size]` → `[...]`, fp32.

    A class of its own, so that it can be initialised (weight 0, bias `gate_bias_init`), recorded
    (`output_gate_logits`) and spared by quantisers; and no `nn.Linear`, which LoRA on `all-linear`
    and others would replace by one that returns another shape.

    Example:
        >>> gate = TokenGate(8)
        >>> gate(torch.zeros(2, 3, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        linear = nn.Linear(hidden_size, 1)  # its way to begin
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Score each token; computed in fp32 whatever the model's dtype."""
        weight: torch.Tensor = self.weight
        bias: torch.Tensor = self.bias
        if input.dtype is not torch.float32 and input.dtype is not torch.float64:
            input, weight, bias = input.float(), weight.float(), bias.float()
        return F.linear(input, weight, bias).squeeze(-1)


def straight_through(gate_logits: torch.Tensor, threshold: float) -> torch.Tensor:
    """Open (1) or closed (0) in value, the probability's derivative in gradient.

    Args:
        gate_logits: `[...]`.
        threshold: logit from which on a gate is open.

    Returns:
        `[...]` of exactly 0 and 1.

    Source: Bengio, Léonard and Courville, *Estimating or Propagating Gradients Through Stochastic
    Neurons*, 2013, section 4.
    """
    probability = torch.sigmoid(gate_logits - threshold)
    is_open = (gate_logits >= threshold).to(probability.dtype)
    return is_open + (probability - probability.detach())


def budget_loss(
    gate_logits: tuple[torch.Tensor, ...],
    thresholds: list[float],
    target_share: float,
    attention_mask: torch.Tensor | None = None,
    together: Together | None = None,
) -> torch.Tensor:
    """Squared distance between the share of open gates and the wanted one; a scalar ≥ 0.

    Args:
        gate_logits: one `[B, T]` a layer.
        thresholds: one logit a layer.
        target_share: wanted share of open gates over all layers and tokens, 0 to 1.
        attention_mask: `[B, T]`, 0 where a token is padding and does not count.
        together: the processes that have parts of the batch; the mean of their gradients is that
            of the whole batch.

    Source: Rao et al., *DynamicViT*, 2021, eq. 10, with the straight-through share.
    """
    device = gate_logits[0].device
    shares = []
    for logits, threshold in zip(gate_logits, thresholds, strict=True):
        is_open = straight_through(logits, threshold)
        if attention_mask is None:
            share = is_open.mean()
        else:
            weight = attention_mask.to(device=is_open.device, dtype=is_open.dtype)
            share = (is_open * weight).sum() / weight.sum().clamp(min=1.0)
        shares.append(share.to(device))
    share = torch.stack(shares).mean()
    if together is not None:
        share = _of_all(share, gate_logits[0], attention_mask, together)
    return (share - target_share) ** 2


def _of_all(
    share: torch.Tensor,
    logits: torch.Tensor,
    attention_mask: torch.Tensor | None,
    together: Together,
) -> torch.Tensor:
    """The share over all processes in value, and in gradient the part of it that is ours."""
    count = share.new_tensor(float(logits.numel()))
    if attention_mask is not None:
        count = attention_mask.to(share).sum()
    opened, total = together.add_up(torch.stack((share.detach() * count, count)))
    mine = share * count * together.count / total
    return opened / total + (mine - mine.detach())

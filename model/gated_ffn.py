"""Running an FFN only for the tokens whose gate is open.

Training multiplies by the gate, so that closed tokens still give it a gradient. Inference gathers
the open tokens, runs the FFN on them and scatters the results back; where none is open, as for a
closed token in single-token decoding, the FFN's weights are not even read. The FFN is any module
that maps `[N, hidden_size]` to the same shape, dense or experts.

Deviations from the article's listing (`GatedSparseFFN`), each with a test:

- its gate sees the mean over all positions, so a token's fate depends on its future and on
  padding; here each token has its own gate;
- it calls `.item()` on a batch of gates and fails for more than one sequence; here every token of a
  batch is decided apart;
- a skip returns `x` where the other branch returns `ffn(x)`, so that a skip drops the FFN and the
  other branch drops the residual; here both keep the residual: `residual + gate · ffn(x)`;
- its threshold has no gradient path; here a straight-through estimate and a budget train it.
"""

from collections.abc import Callable

import torch

from .linear import is_plain_eager
from .token_gate import straight_through


def run_gated(
    ffn: Callable[[torch.Tensor], torch.Tensor],
    hidden_states: torch.Tensor,
    residual: torch.Tensor,
    gate_logits: torch.Tensor,
    threshold: float,
    *,
    training: bool,
) -> torch.Tensor:
    """Return `residual + ffn(hidden_states)` for open tokens and `residual` for closed ones.

    Args:
        ffn: maps `[..., hidden_size]` to the same shape.
        hidden_states, residual: `[B, T, hidden_size]`.
        gate_logits: `[B, T]`.
        threshold: logit from which on a gate is open.
        training: run all tokens and keep the gate's gradient (see `straight_through`).

    Example:
        >>> x, logits = torch.ones(1, 2, 3), torch.tensor([[1.0, -1.0]])
        >>> run_gated(lambda x: 10 * x, x, x, logits, 0.0, training=False)[0, :, 0].tolist()
        [11.0, 1.0]
    """
    if training:
        gate = straight_through(gate_logits, threshold).to(residual.dtype)
        return residual + gate.unsqueeze(-1) * ffn(hidden_states)
    is_open = gate_logits >= threshold
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        # A compiled graph has fixed shapes: the FFN runs for all, and closed tokens drop it.
        return torch.where(is_open.unsqueeze(-1), residual + ffn(hidden_states), residual)
    return _run_open_rows(ffn, hidden_states, residual, is_open)


def _run_open_rows(
    ffn: Callable[[torch.Tensor], torch.Tensor],
    hidden_states: torch.Tensor,
    residual: torch.Tensor,
    is_open: torch.Tensor,
) -> torch.Tensor:
    rows = is_open.flatten().nonzero().squeeze(-1)
    if is_plain_eager():
        # Shortcuts only: what follows them gives the same for no row and for all rows.
        if rows.numel() == 0:
            return residual
        if rows.numel() == is_open.numel():
            return residual + ffn(hidden_states)
    flat = residual.reshape(-1, residual.shape[-1])
    picked = hidden_states.reshape(-1, hidden_states.shape[-1]).index_select(0, rows)
    done = flat.index_select(0, rows) + ffn(picked)
    return flat.index_copy(0, rows, done.to(flat.dtype)).view_as(residual)

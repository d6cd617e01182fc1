"""A first guess for gates that were never trained: fit them to what their FFNs do.

Closed form, without gradients: the gate of a layer learns to predict, from the normalised hidden
state it will see, how much the FFN changes the token.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .evaluation import Batch, as_inputs, evaluating, mask_of, on_device
from .modeling_dvse import DvseForCausalLM


@torch.no_grad()
def fit_gates(model: DvseForCausalLM, data: Iterable[Batch], *, ridge: float = 1e-2) -> None:
    """Fit each gate to how much its FFN does to a token, by ridge regression; no gradients.

    The target is log(‖ffn(x)‖ / ‖residual‖), centred and scaled to unit deviation over all layers,
    so that gates of different layers compare. A start for training, and all that a checkpoint
    without trained gates can have.

    Args:
        model: with gates, which are overwritten.
        data: as for `calibrate_gates`.
        ridge: strength of the penalty, relative to the mean variance of the inputs.
    """
    inputs: dict[int, list[torch.Tensor]] = {}
    targets: dict[int, list[torch.Tensor]] = {}
    with evaluating(model), _recording_ffns(model) as seen:
        model.config.gate_thresholds = [-math.inf] * model.config.num_hidden_layers
        for batch in map(as_inputs, data):
            seen.clear()
            model(**on_device(batch, model), logits_to_keep=1, use_cache=False)
            keep = mask_of(batch).reshape(-1).bool()
            for index, (x, output, residual) in seen.items():
                effect = output.norm(dim=-1) / residual.norm(dim=-1).clamp(min=1e-6)
                inputs.setdefault(index, []).append(x[keep.to(x.device)].cpu())
                targets.setdefault(index, []).append(
                    effect[keep.to(x.device)].clamp(min=1e-6).log().cpu()
                )
    joined = torch.cat([torch.cat(parts) for parts in targets.values()])
    mean, deviation = joined.mean(), joined.std().clamp(min=1e-6)
    for index, layer in enumerate(model.model.layers):
        x = torch.cat(inputs[index]).double()
        y = ((torch.cat(targets[index]) - mean) / deviation).double()
        centre, offset = x.mean(dim=0), y.mean()
        gram = (x - centre).T @ (x - centre)
        penalty = ridge * gram.diagonal().mean() + 1e-9
        weight = torch.linalg.solve(
            gram + penalty * torch.eye(len(gram), dtype=gram.dtype), (x - centre).T @ (y - offset)
        )
        gate = layer.token_gate
        gate.weight.copy_(weight.unsqueeze(0))
        gate.bias.fill_(float(offset - centre @ weight))


@contextmanager
def _recording_ffns(
    model: DvseForCausalLM,
) -> Iterator[dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """Each layer's FFN input, FFN output and residual of the last call, as `[B·T, hidden_size]`."""
    seen: dict[int, Any] = {}
    handles = []
    for index, layer in enumerate(model.model.layers):

        def on_norm(norm: Any, args: Any, output: torch.Tensor, i: int = index) -> None:
            seen[i] = (args[0].flatten(0, 1).float(),)

        def on_ffn(ffn: Any, args: Any, output: torch.Tensor, i: int = index) -> None:
            x = args[0].reshape(-1, args[0].shape[-1]).float()
            seen[i] = (x, output.reshape(x.shape).float(), seen[i][0])

        handles.append(layer.post_attention_layernorm.register_forward_hook(on_norm))
        handles.append(layer.mlp.register_forward_hook(on_ffn))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()

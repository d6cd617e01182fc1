"""Reading what gates and routers decide, while a model runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .decoder_layer import DvseDecoderLayer
from .experts import Router


@dataclass(frozen=True, kw_only=True)
class LayerRouting:
    """What one layer decided over all tokens seen.

    Attributes:
        num_tokens: tokens that reached the gate, or the router where there is no gate; 0 where
            the layer has neither.
        open_share: share of them whose gate was open; 1 without a gate.
        expert_share: share of routing choices that fell on each expert, adding up to 1; empty
            without experts, or where no token was routed.
    """

    num_tokens: int
    open_share: float
    expert_share: tuple[float, ...]

    @property
    def imbalance(self) -> float:
        """Share of the busiest expert over an even share: 1 is perfect, 0 without experts."""
        return max(self.expert_share, default=0.0) * len(self.expert_share)


class RoutingRecorder:
    """Counts, layer by layer; filled by `record_routing`."""

    def __init__(self, num_layers: int) -> None:
        self._seen = [0] * num_layers
        self._open = [0] * num_layers
        self._experts: list[torch.Tensor | None] = [None] * num_layers

    @property
    def layers(self) -> list[LayerRouting]:
        """What has been counted so far, one entry a layer."""
        return [
            LayerRouting(
                num_tokens=seen,
                open_share=is_open / seen if seen else 1.0,
                expert_share=_shares(experts),
            )
            for seen, is_open, experts in zip(self._seen, self._open, self._experts, strict=True)
        ]

    def count_gate(self, layer_idx: int, gate_logits: torch.Tensor, threshold: float) -> None:
        """Add the gate logits `[B, T]` of one call."""
        self._seen[layer_idx] += gate_logits.numel()
        self._open[layer_idx] += int((gate_logits >= threshold).sum())

    def count_experts(
        self, layer_idx: int, expert_ids: torch.Tensor, num_experts: int, *, is_gated: bool
    ) -> None:
        """Add the expert numbers `[N, num_experts_per_tok]` of one call."""
        counts = torch.bincount(expert_ids.reshape(-1).cpu(), minlength=num_experts)
        held = self._experts[layer_idx]
        self._experts[layer_idx] = counts if held is None else held + counts
        if not is_gated:
            self._seen[layer_idx] += expert_ids.shape[0]
            self._open[layer_idx] += expert_ids.shape[0]


@contextmanager
def record_routing(model: nn.Module) -> Iterator[RoutingRecorder]:
    """Count what gates and routers decide inside the block; the model's results do not change.

    Every position counts, padding too: give unpadded batches.

    Example:
        >>> from model import DvseConfig, DvseForCausalLM
        >>> config = DvseConfig(vocab_size=16, hidden_size=8, intermediate_size=8,
        ...     num_hidden_layers=1, num_attention_heads=2, use_token_gate=True)
        >>> model = DvseForCausalLM(config).eval()
        >>> with record_routing(model) as routing:
        ...     _ = model(torch.tensor([[1, 2, 3]]))
        >>> routing.layers[0].num_tokens, routing.layers[0].open_share
        (3, 1.0)
    """
    layers = [module for module in model.modules() if isinstance(module, DvseDecoderLayer)]
    recorder = RoutingRecorder(len(layers))
    handles = []
    for index, layer in enumerate(layers):
        if layer.token_gate is not None:
            handles.append(
                layer.token_gate.register_forward_hook(_gate_hook(recorder, layer, index))
            )
        for module in layer.modules():
            if isinstance(module, Router):
                hook = _router_hook(recorder, layer, index)
                handles.append(module.register_forward_hook(hook))
    try:
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


def _gate_hook(recorder: RoutingRecorder, layer: DvseDecoderLayer, index: int) -> Callable:
    def hook(gate: nn.Module, args: Any, gate_logits: torch.Tensor) -> None:
        recorder.count_gate(index, gate_logits, layer.config.gate_threshold(index))

    return hook


def _router_hook(recorder: RoutingRecorder, layer: DvseDecoderLayer, index: int) -> Callable:
    def hook(router: Router, args: Any, output: tuple[torch.Tensor, ...]) -> None:
        is_gated = layer.token_gate is not None
        recorder.count_experts(index, output[2], router.num_experts, is_gated=is_gated)

    return hook


def _shares(counts: torch.Tensor | None) -> tuple[float, ...]:
    if counts is None or int(counts.sum()) == 0:
        return ()
    return tuple((counts / counts.sum()).tolist())

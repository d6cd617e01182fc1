"""Rounding that looks at what comes in: each weight's error is made up for by those after it.

    for each layer of the decoder, those before it quantized already:
        inputs of its products on calibration rows  ─►  H = XᵀX
        columns one by one: round, spread the error over the columns that are left by H⁻¹

Source: Frantar et al., *GPTQ*, 2022, algorithm 1. *Deviations*: columns in their own order; the
ranges of a group are those of `quantize_int4`, taken when the group is reached; products of a layer
are calibrated on inputs from the layer's own unquantized products.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .errors import ModelConfigError
from .evaluation import Batch, as_inputs, evaluating, on_device
from .experts import Experts
from .modeling_dvse import DvseForCausalLM
from .quantization import check, is_target, mark_quantized
from .quantization_config import WeightOnlyConfig
from .quantized_experts import QuantizedExperts, quantized
from .quantized_linear import Int4Linear, Int8Linear, QuantizedLinear, quantize_int4, quantize_int8

_DAMPING = 0.01  # of the mean diagonal, as in the paper


@torch.no_grad()
def quantize_calibrated(
    model: DvseForCausalLM, data: Iterable[Batch], *, bits: int = 4, group_size: int = 128
) -> DvseForCausalLM:
    """Quantize a decoder in place by GPTQ and return it, as `quantize` does without data.

    Args:
        model: a decoder that is not quantized.
        data: ids of training rows, as `perplexity` takes them, without padding.
        bits, group_size: as in `quantize`.

    Raises:
        ModelConfigError: no rows, a group size that does not divide, or a quantized model.
    """
    config = WeightOnlyConfig(bits=bits, group_size=group_size)
    check(model, config)
    batches = [as_inputs(batch) for batch in data]
    if not batches:
        raise ModelConfigError("expected rows to calibrate on, got none.")
    with evaluating(model):
        for layer in model.model.layers:
            _quantize_layer(model, layer, batches, config)
    return mark_quantized(model, config)


def gptq(
    weight: torch.Tensor, hessian: torch.Tensor, *, bits: int, group_size: int
) -> QuantizedLinear:
    """Return the layer, without a bias, whose outputs on these inputs are nearest.

    Args:
        weight: `[out, in]`.
        hessian: `[in, in]`, the sum of xᵀx over input rows x.
    """
    num_out, num_in = weight.shape
    rest = weight.detach().float().clone()
    spread = _spread(hessian.float(), rest)
    is_grouped = bits == 4
    step = group_size if is_grouped else num_in
    integers = torch.zeros(num_out, num_in)
    scales, zeros = [], []
    for start in range(0, num_in, step):
        group = slice(start, start + step)
        if is_grouped:
            _, scale, zero = quantize_int4(rest[:, group], group_size)
            low, high, offset = 0, 15, 8
        else:
            scale = quantize_int8(rest)[1].unsqueeze(-1)
            zero = torch.zeros_like(scale)
            low, high, offset = -127, 127, 0
        scales.append(scale)
        zeros.append(zero)
        s, z = scale.float().squeeze(-1), zero.float().squeeze(-1)
        for column in range(start, start + step):
            kept = rest[:, column]
            rounded = ((kept - z) / s + offset).round().clamp(low, high)
            integers[:, column] = rounded
            error = (kept - ((rounded - offset) * s + z)) / spread[column, column]
            rest[:, column + 1 :] -= error.unsqueeze(1) * spread[column, column + 1 :]
    if is_grouped:
        return Int4Linear.holding(integers, torch.cat(scales, 1), torch.cat(zeros, 1))
    return Int8Linear.holding(integers, scales[0].squeeze(-1))


def _spread(hessian: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Upper Cholesky factor of the damped inverse; inputs that never came cost nothing."""
    dead = hessian.diagonal() == 0
    hessian = hessian.double().clone()
    hessian[dead, dead] = 1.0
    weight[:, dead] = 0.0
    hessian.diagonal().add_(_DAMPING * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True).float()


def _quantize_layer(
    model: DvseForCausalLM, layer: nn.Module, batches: list[Any], config: WeightOnlyConfig
) -> None:
    how = {"bits": config.bits, "group_size": config.group_size}
    stacks = {}
    for name, module in list(layer.named_modules()):
        if isinstance(module, Experts):
            # Experts of their own, so that what each is given can be seen.
            stacks[name] = module
            layer.set_submodule(name, QuantizedExperts.of(module, **how))
    targets = {name: m for name, m in layer.named_modules() if is_target(m)}
    experts = {
        f"{name}.{kind}.{number}": stack[number]
        for name, stacked in stacks.items()
        for kind, stack in (
            ("gate_up_projs", stacked.gate_up_proj),
            ("down_projs", stacked.down_proj),
        )
        for number in range(stacked.num_experts)
    }
    watched = {**targets, **{name: layer.get_submodule(name) for name in experts}}
    with _hessians(watched) as hessians:
        for batch in batches:
            _run_through(model, layer, batch)
    for name, module in watched.items():
        weight = experts.get(name, module.weight)
        if name in hessians:
            new = gptq(weight, hessians[name], **how)
            new.bias = None if module.bias is None else module.bias.detach().clone()
        else:  # nothing came: an expert that was never chosen, a gate that was never open
            new = quantized(weight, module.bias, **how)
        layer.set_submodule(name, new)


class _FarEnough(Exception):  # noqa: N818  # nothing went wrong
    """The layer that is looked at has run."""


def _run_through(model: DvseForCausalLM, layer: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """Run a batch up to the end of a layer."""

    def stop(*_: Any) -> None:
        raise _FarEnough

    handle = layer.register_forward_hook(stop)
    try:
        model(**on_device(batch, model), use_cache=False)
    except _FarEnough:
        pass
    finally:
        handle.remove()


@contextmanager
def _hessians(watched: dict[str, nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """Add up xᵀx of every row that comes into these modules inside the block."""
    found: dict[str, torch.Tensor] = {}
    handles = []
    for name, module in watched.items():

        def see(_: Any, args: Any, name: str = name) -> None:
            rows = args[0].reshape(-1, args[0].shape[-1]).double()
            if len(rows):
                found[name] = found.get(name, 0) + rows.T @ rows

        handles.append(module.register_forward_pre_hook(see))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()

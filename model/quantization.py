"""Quantized decoders: `quantize`, and the way transformers saves and loads them.

    from_pretrained(DIR)                                           a directory saved quantized
    from_pretrained(DIR, quantization_config=WeightOnlyConfig(bits=8))     quantized on the way in

Attention, FFN and experts are quantized; embedding, head, router and gates stay: a gate in low
precision flips, and new rows of the embedding are the codes of pictures and speech.
"""

from typing import Any, TypeVar

import torch
from torch import nn
from transformers.quantizers.auto import register_quantizer
from transformers.quantizers.base import HfQuantizer

from .errors import ModelConfigError
from .experts import Experts
from .linear import Linear
from .pretrained import DvsePreTrainedModel
from .quantization_config import METHOD, WeightOnlyConfig
from .quantized_experts import QuantizedExperts, empty_linear, quantized
from .quantized_linear import QuantizedLinear, check_group_size

Decoder = TypeVar("Decoder", bound=DvsePreTrainedModel)


@register_quantizer(METHOD)
class WeightOnlyQuantizer(HfQuantizer):
    """What transformers calls while it loads a model."""

    requires_calibration = False
    quantization_config: WeightOnlyConfig

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> None:
        check(model, self.quantization_config)
        if self.pre_quantized:
            _exchange(model, self.quantization_config, is_empty=True)

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        if not self.pre_quantized:
            _exchange(model, self.quantization_config, is_empty=False)
        return model

    def is_serializable(self) -> bool:
        """Plain integers and scales: safetensors takes them."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Whether adapters beside the weights can be trained; rounding itself has no gradient."""
        return True


def quantize(model: Decoder, *, bits: int = 8, group_size: int = 128) -> Decoder:
    """Quantize a decoder in place and return it; `save_pretrained` writes it so.

    Raises:
        ModelConfigError: a group size that does not divide a row, or a model quantized before.
    """
    config = WeightOnlyConfig(bits=bits, group_size=group_size)
    check(model, config)
    _exchange(model, config, is_empty=False)
    return mark_quantized(model, config)


def mark_quantized(model: Decoder, config: WeightOnlyConfig) -> Decoder:
    """Let a decoder whose layers were exchanged be saved and loaded as what it is; return it."""
    model.config.quantization_config = config
    marks = {
        "hf_quantizer": WeightOnlyQuantizer(config, pre_quantized=True),
        "is_quantized": True,
        "quantization_method": METHOD,
    }
    for name, value in marks.items():  # what transformers sets on a model that it loads so
        setattr(model, name, value)
    return model.eval()


def check(model: DvsePreTrainedModel, config: WeightOnlyConfig) -> None:
    """Refuse, before any weight is read, what cannot be quantized so.

    Raises:
        ModelConfigError: another model, one that is quantized, or a group size that does not
            divide a row.
    """
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        raise ModelConfigError("the model is quantized already: load the one it was made from.")
    if not isinstance(model, DvsePreTrainedModel):
        raise ModelConfigError(
            f"{METHOD} quantizes DVSE decoders, got {type(model).__name__}: load it with torchao."
        )
    if config.bits == 4:
        for _, module in _targets(model):
            widths = (
                [module.in_features]
                if isinstance(module, nn.Linear)
                else [module.gate_up_proj.shape[-1], module.down_proj.shape[-1]]
            )
            for width in widths:
                check_group_size(config.group_size, width)


def is_target(module: nn.Module) -> bool:
    """Whether a module of a decoder's layer is exchanged: a linear layer or stacked experts."""
    return type(module) in (Linear, nn.Linear, Experts)


def _targets(model: nn.Module) -> list[tuple[str, Any]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if ".layers." in f".{name}." and is_target(module)
    ]


@torch.no_grad()
def _exchange(model: nn.Module, config: WeightOnlyConfig, *, is_empty: bool) -> None:
    how = {"bits": config.bits, "group_size": config.group_size}
    for name, module in _targets(model):
        new: nn.Module
        if isinstance(module, Experts):
            new = (
                QuantizedExperts(module, **how) if is_empty else QuantizedExperts.of(module, **how)
            )
        elif is_empty:
            new = empty_linear(
                module.in_features, module.out_features, bias=module.bias is not None, **how
            )
        else:
            new = quantized(module.weight, module.bias, **how)
        model.set_submodule(name, new)

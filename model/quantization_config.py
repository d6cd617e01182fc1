"""How weights are stored in few bits, and whether what is stored so can be computed with here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers.quantizers.auto import AutoHfQuantizer, register_quantization_config
from transformers.utils import logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from .errors import ModelConfigError
from .quantized_linear import GROUP_SIZES, check_group_size

METHOD = "dvse_weight_only"


@register_quantization_config(METHOD)
class WeightOnlyConfig(QuantizationConfigMixin):
    """How weights are stored.

    Attributes:
        bits: 8 or 4.
        group_size: weights of a row that share a scale and a zero at 4 bits: 32, 64, 128 or 256.

    Raises:
        ModelConfigError: other bits, or a group size that no kernel takes.
    """

    def __init__(self, bits: int = 8, group_size: int = 128, **kwargs: Any) -> None:
        kwargs.pop("quant_method", None)
        if kwargs:
            raise ModelConfigError(f"unknown setting of quantization: {sorted(kwargs)[0]}.")
        if bits not in (4, 8):
            raise ModelConfigError(f"bits must be 8 or 4, got {bits}.")
        self.quant_method = METHOD  # type: ignore[assignment]
        self.bits, self.group_size = bits, group_size


def check_kernels(config: Any, where: Any = "") -> None:
    """Refuse, before any weight is read, a quantization whose kernels are not here.

    Args:
        config: a `DvseConfig`.
        where: its directory, for messages.

    Raises:
        ModelConfigError: a method that nobody here knows, or whose library or device is missing;
            groups that do not divide a row.
    """
    found = getattr(config, "quantization_config", None)
    if found is None:
        return
    given = found if isinstance(found, Mapping) else found.to_dict()
    method = given.get("quant_method") or "a method that it does not name"
    about = f"{where}: " if where else ""
    try:
        if not torch.cuda.is_available() and "Int4WeightOnly" in str(given.get("quant_type")):
            raise RuntimeError("torchao's int4 layout is read by CUDA's kernels alone")
        if method == METHOD:
            ours: WeightOnlyConfig = WeightOnlyConfig.from_dict(dict(given))
            if ours.bits == 4:
                fitting_group_size(config, ours.group_size)
            return  # weights without a kernel are multiplied out
        quantizer = AutoHfQuantizer.from_config(dict(given), pre_quantized=True)
        with _in_silence():
            quantizer.validate_environment(device_map=None, weights_only=True)
    except ModelConfigError as error:
        raise ModelConfigError(f"{about}{error}") from error
    except Exception as error:  # each library refuses in its own way
        reason = " ".join(str(error).split()).rstrip(".")[:200]
        raise ModelConfigError(
            f"{about}its weights are quantized by {method}, which cannot run here ({reason}); "
            "give the model that it was made from, and round that with dvse quantize."
        ) from error


@contextmanager
def _in_silence() -> Iterator[None]:
    """Without what libraries tell of devices: what cannot run here is refused in a sentence."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def fitting_group_size(config: Any, wanted: int | None = None) -> int:
    """Return the largest group size up to 128 that divides every row of a decoder's weights.

    Args:
        config: of the decoder.
        wanted: a size to be checked instead.

    Raises:
        ModelConfigError: none does, or not this one.
    """
    widths = [config.hidden_size, config.num_attention_heads * config.head_dim]
    if not config.has_experts or config.first_k_dense_replace > 0:
        widths.append(config.intermediate_size)
    if config.has_experts:
        widths.append(config.moe_intermediate_size)
        if config.n_shared_experts:
            widths.append(config.moe_intermediate_size * config.n_shared_experts)
    if wanted is not None:
        for width in widths:
            check_group_size(wanted, width)
        return wanted
    fitting = [size for size in GROUP_SIZES if size <= 128 and not any(w % size for w in widths)]
    if not fitting:
        raise ModelConfigError(
            f"no group size among {GROUP_SIZES} divides rows of {sorted(set(widths))} weights: "
            "choose int8."
        )
    return max(fitting)

"""How weights are stored in few bits, and whether what is stored so can be computed with here."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers.quantizers.auto import AutoHfQuantizer, register_quantization_config
from transformers.utils.quantization_config import QuantizationConfigMixin

from .errors import ModelConfigError

METHOD = "dvse_weight_only"
_KEY = "quantization_config"


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
        config: of the decoder, as a `DvseConfig` or the contents of its `config.json`.
        where: its directory, for messages.

    Raises:
        ModelConfigError: a method that nobody here knows, or whose library or device is missing.
    """
    is_read = isinstance(config, Mapping)
    found = config.get(_KEY) if is_read else getattr(config, _KEY, None)
    if found is None:
        return
    given = found if isinstance(found, Mapping) else found.to_dict()
    method = given.get("quant_method") or "a method that it does not name"
    about = f"{where}: " if where else ""
    try:
        if not torch.cuda.is_available() and "Int4WeightOnly" in str(given.get("quant_type")):
            raise RuntimeError("torchao's int4 layout is read by CUDA's kernels alone")
        if method == METHOD:
            WeightOnlyConfig.from_dict(dict(given))  # weights without a kernel are multiplied out
            return
        quantizer = AutoHfQuantizer.from_config(dict(given), pre_quantized=True)
        quantizer.validate_environment(device_map=None, weights_only=True)
    except ModelConfigError as error:
        raise ModelConfigError(f"{about}{error}") from error
    except Exception as error:  # each library refuses in its own way
        reason = " ".join(str(error).split()).rstrip(".")[:200]
        raise ModelConfigError(
            f"{about}its weights are quantized by {method}, which cannot run here ({reason}); "
            "give the model that it was made from, and round that with dvse quantize."
        ) from error

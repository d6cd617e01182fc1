"""In what a decoder's weights are held: a dtype of torch, or 8 or 4 bits each."""

from typing import TYPE_CHECKING, Any, Literal

from dvse.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from model import DvseForCausalLM

Quantization = Literal["int8", "int4"]

_BITS = {"int8": 8, "int4": 4}
QUANTIZE_HELP = (
    "hold the decoder's weights in 8 or 4 bits, rounded as they are loaded and not judged; dvse "
    "quantize judges, and writes what needs no flag"
)


def dtype_of(dtype: "str | torch.dtype | None") -> "str | torch.dtype":
    """Return the dtype that is meant; `auto` where none is given.

    Raises:
        ConfigError: no floating dtype of torch.
    """
    import torch

    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype or "auto"
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"expected a dtype such as 'float32' or 'bfloat16', received {dtype!r}")
    return found


def check_quantization(
    config: Any, wanted: Quantization | None, where: Any, *, group_size: int | None = None
) -> int:
    """Refuse, before weights are read, what cannot be quantized; return the size of groups.

    Args:
        config: of the decoder.
        wanted: its bits.
        where: the decoder's folder, for messages.
        group_size: by default the largest up to 128 that divides every row.

    Raises:
        ConfigError: other bits, a decoder that is quantized already, or rows that no group divides.
    """
    from model import ModelError, fitting_group_size

    if wanted is None:
        return 0
    if wanted not in _BITS:
        raise ConfigError(f"quantize: expected int8 or int4, received {wanted!r}")
    if getattr(config, "quantization_config", None) is not None:
        raise ConfigError(
            f"{where}: its weights are quantized already; leave --quantize out, or give the model "
            "that it was made from"
        )
    try:
        if wanted == "int8":
            return 128  # a scale a row
        return fitting_group_size(config, group_size)
    except ModelError as error:
        raise ConfigError(f"{where}: {error}") from error


def in_bits(
    model: "DvseForCausalLM", wanted: Quantization | None, group_size: int
) -> "DvseForCausalLM":
    """Return the decoder with its weights in so many bits, changed in place."""
    from model import quantize

    return model if wanted is None else quantize(model, bits=_BITS[wanted], group_size=group_size)

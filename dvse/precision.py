"""In how many bits an encoder computes, and whether a device can.

    float32    as stored, products exact to 24 bits
    tf32       fp32 weights, products rounded to 11 bits on the way in; CUDA cards from Ampere on
    bfloat16   weights and activations of 16 bits, 8 of them significant; sums in fp32
    float16    as well, 11 of them significant, but nothing beyond 65,504

Weights are really cast: under autocast frozen ones would be cast again in every call. Samples are
scaled and pixels normalised in fp32 before, features are fp32 again after, and the nearest code is
searched in fp32 always. A feature that is NaN or infinity becomes no code: its input is refused.
"""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from dvse.errors import ConfigError, FeatureOverflowError

if TYPE_CHECKING:
    import torch
    from torch import nn

Precision: TypeAlias = Literal["float32", "tf32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# A CPU feature of torch's names that makes a precision worth asking for: without one of these torch
# computes it all the same, several times slower than fp32.
_CPU_FEATURES = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "fp16_arith"),
}
_CUDA_CAPABILITY = {"float32": 0, "float16": 7, "tf32": 8, "bfloat16": 8}


def check_precision(precision: str, device: str) -> None:
    """Refuse what a device cannot do, or could only do slower than fp32.

    Raises:
        ConfigError: in one sentence; also an unknown precision.

    >>> check_precision("tf32", "cpu")
    Traceback (most recent call last):
        ...
    dvse.errors.ConfigError: tf32 is computed by CUDA cards only; on cpu use float32 or bfloat16
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"expected a precision among {', '.join(PRECISIONS)}, received {precision!r}"
        )
    if precision == "float32":
        return
    import torch

    kind, _, index = device.partition(":")
    if kind == "cpu":
        if precision == "tf32":
            raise ConfigError("tf32 is computed by CUDA cards only; on cpu use float32 or bfloat16")
        found = torch.cpu.get_capabilities()
        if not any(found.get(name, False) for name in _CPU_FEATURES[precision]):
            raise ConfigError(
                f"this processor has no instructions for {precision} "
                f"({' or '.join(_CPU_FEATURES[precision])}), so it would be slower than float32; "
                "use float32"
            )
        return
    if int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device}: torch finds no such card here; use cpu")
    major, minor = torch.cuda.get_device_capability(int(index or 0))
    if major < _CUDA_CAPABILITY[precision]:
        raise ConfigError(
            f"{torch.cuda.get_device_name(int(index or 0))} (compute capability {major}.{minor}) "
            f"cannot compute {precision}, which needs {_CUDA_CAPABILITY[precision]}.0; use float32"
        )


def weights_dtype(precision: str) -> "torch.dtype":
    """Return the dtype of an encoder's weights.

    >>> weights_dtype("tf32"), weights_dtype("bfloat16")
    (torch.float32, torch.bfloat16)
    """
    import torch

    found = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    return found.get(precision, torch.float32)


def cast_weights(module: "nn.Module", precision: str) -> None:
    """Cast the weights of an encoder in place, once: parameters, and buffers beside them.

    A weight that is computed from two others (weight norm) is computed now, in fp32, and cast.
    Tables of angles, buffers of modules without parameters, stay fp32; so does batch norm as a
    whole, whose stored statistics torch takes in no other way, and a narrow padded convolution,
    which oneDNN computes wrongly in bfloat16 on a processor with AMX (torch 2.14).

    Raises:
        ConfigError: a weight beyond the range of float16.
    """
    import torch

    dtype = weights_dtype(precision)
    if dtype == torch.float32:
        return
    compute_weights(module)
    with torch.no_grad():
        inner: Any
        for inner in module.modules():
            if isinstance(inner, torch.nn.modules.batchnorm._BatchNorm):
                continue
            if precision == "bfloat16" and _is_narrow(inner):
                inner.register_forward_pre_hook(_in_full)
                inner.register_forward_hook(_rounded)
                continue
            weights = dict(inner.named_parameters(recurse=False))
            beside = dict(inner.named_buffers(recurse=False)) if weights else {}
            for name, weight in (weights | beside).items():
                if not weight.is_floating_point():
                    continue
                cast = weight.to(dtype)
                if not torch.isfinite(cast).all():
                    raise ConfigError(f"weight {name} is beyond the range of {precision}")
                weight.data = cast


def _is_narrow(module: "nn.Module") -> bool:
    """Whether it is a convolution over a sequence that may come out wrong.

    With 2 to 12 channels a group, kernels of 8 and 128 and padding nothing of the result was right;
    from 16 channels on, as published encoders have them, and without padding everything was.
    """
    import torch

    if not isinstance(module, torch.nn.Conv1d) or module.padding == (0,):
        return False
    return 1 < module.in_channels // module.groups < 16


def _in_full(module: "nn.Module", inputs: Any) -> Any:
    return tuple(one.float() for one in inputs)


def _rounded(module: "nn.Module", inputs: Any, output: Any) -> Any:
    import torch

    return output.to(torch.bfloat16)


def compute_weights(module: "nn.Module") -> None:
    """Compute in place, once, the weights that are made from others (weight norm)."""
    import torch
    from torch.nn.utils import parametrize

    inner: Any
    for inner in list(module.modules()):
        if not parametrize.is_parametrized(inner):
            continue
        with torch.no_grad():
            computed = {name: getattr(inner, name).clone() for name in inner.parametrizations}
        # torch's own way back changes the class, which a copy of this module shares.
        inner.__class__ = parametrize.type_before_parametrizations(inner)
        del inner.parametrizations
        for name, value in computed.items():
            inner.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))


def computing_dtype(module: "nn.Module") -> Any:
    """Return the dtype in which a module's weights are, fp32 where it has none.

    >>> from torch import nn
    >>> computing_dtype(nn.Linear(2, 2).half())
    torch.float16
    """
    import torch

    return next((p.dtype for p in module.parameters()), torch.float32)


def refuse_overflow(is_finite: "torch.Tensor", precision: str) -> None:
    """Refuse to make codes of features that are NaN or infinity.

    Args:
        is_finite: `bool [N]`, of the features of each chunk.
        precision: that they were computed in.

    Raises:
        FeatureOverflowError: one of them is not.
    """
    if is_finite.all():
        return
    cure = {
        "float16": "which holds nothing beyond 65,504; take bfloat16 or float32",
        "float32": "and no precision holds more; are its weights sound?",
    }
    raise FeatureOverflowError(
        f"the encoder gave NaN or infinity in {precision}, "
        f"{cure.get(precision, 'which is coarser than float32; take that')}"
    )


def refuse_cast_weights(precision: str) -> None:
    """Refuse to save weights that were rounded.

    Raises:
        ConfigError: they are not those that were loaded.
    """
    if precision in ("bfloat16", "float16"):
        raise ConfigError(f"its weights were rounded to {precision}; load it in float32 to save it")

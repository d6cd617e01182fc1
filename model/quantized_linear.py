"""Linear layers whose weights are 8 or 4 bits, read by the packed products that torch has on a CPU.

Weight-only: activations stay in bfloat16. On disk lie plain integers and scales (safetensors holds
them as they are), the same for every device; what a kernel wants in another order is packed when
it is first used. Elsewhere than on a CPU, in tracing and for shapes without a kernel the weights
are multiplied out first: the same values, no faster than before.

Round to nearest: int8 by row, `w ≈ q · s`, q in -127 … 127; int4 by groups of a row,
`w ≈ (q - 8) · s + z`, q in 0 … 15 (asymmetric min-max, as in GPTQ: Frantar et al. 2022, section 4).
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .errors import ModelConfigError
from .linear import is_plain_eager

GROUP_SIZES = (32, 64, 128, 256)
_ALIGNED = 64  # bytes: the int8 kernel was seen to crash on integers that begin elsewhere
_KERNEL_ROWS = 16  # the kernels take output widths of whole sixteens


class QuantizedLinear(nn.Linear):
    """`[..., in_features]` → `[..., out_features]` with integer weights, which have no gradients.

    A linear layer by kind, so that adapters find it; its weights are buffers. Gradients of the
    input pass through, for adapters before and beside it.
    """

    bias: torch.Tensor | None  # type: ignore[assignment]

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)

    @abstractmethod
    def dequantized(self) -> torch.Tensor:
        """Return the weights that the integers stand for, fp32 `[out_features, in_features]`."""

    @abstractmethod
    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply bfloat16 rows `[N, in_features]` by the kernel."""

    @abstractmethod
    def has_kernel(self) -> bool:
        """Whether the kernel takes this shape."""

    @abstractmethod
    def resized(self, out_features: int) -> "QuantizedLinear":
        """Return an empty layer of this kind that gives so many outputs."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map `[..., in_features]` to `[..., out_features]` in the dtype of the input."""
        if torch.is_grad_enabled() and input.requires_grad and not torch.compiler.is_compiling():
            output: torch.Tensor = _WithFixedWeights.apply(input, self)
            return output
        return self.product(input)

    def product(self, input: torch.Tensor) -> torch.Tensor:
        """Do what `forward` does, without a way back."""
        bias = self._buffers["bias"]
        if input.is_cpu and self.has_kernel() and is_plain_eager():
            rows, dtype = input.reshape(-1, self.in_features), input.dtype
            # A token meets dozens of these: even a conversion to the same dtype shows.
            is_other = dtype is not torch.bfloat16
            output = self._product(rows.to(torch.bfloat16) if is_other else rows)
            output = (output.to(dtype) if is_other else output).view(*input.shape[:-1], -1)
            return output if bias is None else output + bias.to(dtype)
        bias = None if bias is None else bias.to(input.dtype)
        return F.linear(input, self.dequantized().to(input.dtype), bias)

    def extra_repr(self) -> str:
        """Return the sizes, as `nn.Linear` shows them."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class _WithFixedWeights(torch.autograd.Function):
    """A product that keeps no weights for its way back: they are multiplied out once more there."""

    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, layer: QuantizedLinear) -> torch.Tensor:
        ctx.layer = layer
        return layer.product(input)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.dequantized().to(gradient.dtype), None


class Int8Linear(QuantizedLinear):
    """8 bits a weight, one scale a row.

    Example:
        >>> layer = Int8Linear.of(torch.tensor([[1.0, -2.0], [0.5, 0.25]]), None)
        >>> layer.weight.tolist()
        [[64, -127], [127, 64]]
    """

    weight: torch.Tensor  # type: ignore[assignment]
    scale: torch.Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out_features, dtype=torch.bfloat16))

    @classmethod
    @torch.no_grad()
    def of(cls, weight: torch.Tensor, bias: torch.Tensor | None) -> "Int8Linear":
        """Quantize weights `[out_features, in_features]`."""
        layer = cls(weight.shape[1], weight.shape[0], bias=bias is not None)
        layer.weight, layer.scale = quantize_int8(weight)
        layer.bias = None if bias is None else bias.detach().clone()
        return layer

    @classmethod
    def holding(cls, integers: torch.Tensor, scale: torch.Tensor) -> "Int8Linear":
        """Return a layer of these integers `[out, in]` in -127 … 127 and scales `[out]`."""
        layer = cls(integers.shape[1], integers.shape[0], bias=False)
        layer.weight, layer.scale = integers.to(torch.int8), scale.to(torch.bfloat16)
        return layer

    def dequantized(self) -> torch.Tensor:
        """Return the weights that the integers stand for, fp32 `[out_features, in_features]`."""
        return self.weight.float() * self.scale.float().unsqueeze(-1)

    def resized(self, out_features: int) -> "Int8Linear":
        """Return an empty layer of this kind that gives so many outputs."""
        return Int8Linear(self.in_features, out_features, bias=self.bias is not None)

    def has_kernel(self) -> bool:
        """Whether the kernel takes this shape: any."""
        return True

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        held: Any = self._buffers  # looking for them by name in a module takes a microsecond each
        if held["weight"].data_ptr() % _ALIGNED:  # mapped from a file, it begins anywhere
            held["weight"] = held["weight"].clone()
        return torch._weight_int8pack_mm(rows, held["weight"], held["scale"])


class Int4Linear(QuantizedLinear):
    """4 bits a weight, a scale and a zero for each group of a row.

    Attributes:
        weight: `uint8 [out_features, in_features / 2]`, two weights a byte, the first one low.
        scale, zero: `bfloat16 [out_features, in_features / group_size]`.
    """

    weight: torch.Tensor  # type: ignore[assignment]
    scale: torch.Tensor
    zero: torch.Tensor

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool, group_size: int = 128
    ) -> None:
        super().__init__(in_features, out_features, bias=bias)
        check_group_size(group_size, in_features)
        groups = in_features // group_size
        self.group_size = group_size
        self.register_buffer(
            "weight", torch.zeros(out_features, in_features // 2, dtype=torch.uint8)
        )
        for name in ("scale", "zero"):
            self.register_buffer(name, torch.zeros(out_features, groups, dtype=torch.bfloat16))
        self._packed: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    @torch.no_grad()
    def of(
        cls, weight: torch.Tensor, bias: torch.Tensor | None, *, group_size: int = 128
    ) -> "Int4Linear":
        """Quantize weights `[out_features, in_features]`."""
        layer = cls(weight.shape[1], weight.shape[0], bias=bias is not None, group_size=group_size)
        layer.weight, layer.scale, layer.zero = quantize_int4(weight, group_size)
        layer.bias = None if bias is None else bias.detach().clone()
        return layer

    @classmethod
    def holding(
        cls, integers: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor
    ) -> "Int4Linear":
        """Return a layer of integers `[out, in]` in 0 … 15, scales and zeros `[out, groups]`."""
        group_size = integers.shape[1] // scale.shape[1]
        layer = cls(integers.shape[1], integers.shape[0], bias=False, group_size=group_size)
        layer.weight = pack(integers.to(torch.uint8))
        layer.scale, layer.zero = scale.to(torch.bfloat16), zero.to(torch.bfloat16)
        return layer

    def dequantized(self) -> torch.Tensor:
        """Return the weights that the integers stand for, fp32 `[out_features, in_features]`."""
        return dequantize_int4(self.weight, self.scale, self.zero)

    def resized(self, out_features: int) -> "Int4Linear":
        """Return an empty layer of this kind that gives so many outputs."""
        has_bias, group_size = self.bias is not None, self.group_size
        return Int4Linear(self.in_features, out_features, bias=has_bias, group_size=group_size)

    def has_kernel(self) -> bool:
        """Whether the kernel takes this shape: whole sixteens of outputs."""
        return self.out_features % _KERNEL_ROWS == 0

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        if self._packed is None:
            whole = unpack(self.weight).int()
            packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 2)
            pairs = torch.stack([self.scale, self.zero], -1).transpose(0, 1).contiguous()
            # Half of what there was: the plain integers are only needed to be saved again.
            self._packed = packed, pairs
        packed, pairs = self._packed
        return torch._weight_int4pack_mm_for_cpu(rows, packed, self.group_size, pairs)


def check_group_size(group_size: int, in_features: int) -> None:
    """Refuse groups that no kernel takes or that do not divide a row.

    Raises:
        ModelConfigError: it says which sizes are possible.
    """
    if group_size not in GROUP_SIZES or in_features % group_size:
        possible = [size for size in GROUP_SIZES if in_features % size == 0]
        raise ModelConfigError(
            f"group_size must be one of {possible or GROUP_SIZES} for rows of {in_features} "
            f"weights, got {group_size}: choose another group size, or int8."
        )


def quantize_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return integers int8 `[..., out, in]` and scales bfloat16 `[..., out]` of weights.

    The scale is rounded first, so that the integers are the nearest under the scale that is used.
    """
    weight = weight.detach().float()
    scale = (weight.abs().amax(-1) / 127).clamp(min=1e-12).to(torch.bfloat16)
    integers = (weight / scale.float().unsqueeze(-1)).round().clamp(-127, 127)
    return integers.to(torch.int8), scale


def quantize_int4(
    weight: torch.Tensor, group_size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return bytes uint8 `[..., out, in / 2]`, scales and zeros bfloat16 `[..., out, groups]`.

    Of a few shrunken ranges each group takes the one with the least squared error: outliers are
    worth less than the step that they cost all others.
    """
    check_group_size(group_size, weight.shape[-1])
    grouped = weight.detach().float().unflatten(-1, (-1, group_size))
    low, high = grouped.amin(-1, keepdim=True), grouped.amax(-1, keepdim=True)
    best_error = torch.full_like(low, float("inf"))
    best = [torch.zeros_like(grouped), torch.zeros_like(low), torch.zeros_like(low)]
    for share in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75):
        middle, reach = (low + high) / 2, share * (high - low) / 2
        scale = (2 * reach / 15).clamp(min=1e-12).to(torch.bfloat16).float()
        zero = (middle - reach + 8 * scale).to(torch.bfloat16).float()
        integers = ((grouped - zero) / scale + 8).round().clamp(0, 15)
        error = ((integers - 8) * scale + zero - grouped).square().sum(-1, keepdim=True)
        is_better = error < best_error
        best_error = torch.where(is_better, error, best_error)
        found = (integers, scale, zero)
        best = [torch.where(is_better, a, b) for a, b in zip(found, best, strict=True)]
    integers, scale, zero = best
    packed = pack(integers.flatten(-2).to(torch.uint8))
    return packed, scale.squeeze(-1).to(torch.bfloat16), zero.squeeze(-1).to(torch.bfloat16)


def pack(integers: torch.Tensor) -> torch.Tensor:
    """Return bytes `[..., in / 2]` of uint8 `[..., in]` in 0 … 15, the first of two low."""
    pairs = integers.unflatten(-1, (-1, 2))
    return pairs[..., 0] | (pairs[..., 1] << 4)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """Return uint8 `[..., in]` in 0 … 15 of bytes `[..., in / 2]`.

    Example:
        >>> unpack(torch.tensor([0x21, 0xF0], dtype=torch.uint8)).tolist()
        [1, 2, 0, 15]
    """
    return torch.stack([packed & 15, packed >> 4], -1).flatten(-2)


def dequantize_int4(packed: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    """Return the fp32 weights `[..., out, in]` of what `quantize_int4` gave."""
    grouped = unpack(packed).float().unflatten(-1, (scale.shape[-1], -1))
    return ((grouped - 8) * scale.float().unsqueeze(-1) + zero.float().unsqueeze(-1)).flatten(-2)

"""One product for quantized layers that read the same rows: queries, keys and values of attention.

Decoding a token is dozens of small products, and starting a narrow one takes longer than computing
it. Outputs are computed one by one from the same integers, so the bits stay. The layers keep their
names, and their integers lie in the joint ones: nothing is held twice, or saved differently.
"""

from collections.abc import Sequence

import torch
from torch import nn

from .linear import is_plain_eager
from .quantized_linear import QuantizedLinear

_MOST_ROWS = 64  # with more, products cost what they compute, and the parts are views of much


class JointProduct:
    """Quantized layers of one kind as one.

    Attributes:
        whole: their outputs one behind the other.
    """

    def __init__(self, layers: Sequence[QuantizedLinear]) -> None:
        sizes = [layer.out_features for layer in layers]
        self.whole = layers[0].resized(sum(sizes))
        with torch.inference_mode(mode=False), torch.no_grad():
            for name in [name for name, held in layers[0]._buffers.items() if held is not None]:
                joined = torch.cat([layer.get_buffer(name) for layer in layers])
                setattr(self.whole, name, joined)
                for layer, part in zip(layers, joined.split(sizes), strict=True):
                    setattr(layer, name, part)
        self._parts = [layer._buffers["weight"] for layer in layers]

    def is_of(self, layers: Sequence[nn.Module]) -> bool:
        """Whether these layers still have the integers that were joined."""
        held = (layer._buffers.get("weight") for layer in layers)
        return all(a is b for a, b in zip(held, self._parts, strict=True))


def joint_product(
    layers: Sequence[nn.Module], input: torch.Tensor, known: JointProduct | None
) -> JointProduct | None:
    """Return what does the products of these layers at once; `None` where they are done apart.

    Apart: layers that are not quantized alike or that somebody looks into (hooks, adapters), many
    rows, devices without the kernels, tracing, gradients.

    Args:
        layers: that read the same rows.
        input: the rows, `[..., in_features]`.
        known: what this gave before.
    """
    if not isinstance(layers[0], QuantizedLinear) or not is_plain_eager():
        return None
    if not input.is_cpu or input.numel() > _MOST_ROWS * layers[0].in_features:
        return None
    if torch.is_grad_enabled() and input.requires_grad:
        return None
    if any(one._forward_hooks or one._forward_pre_hooks for one in layers):
        return None
    if known is not None and known.is_of(layers):
        return known
    return JointProduct(layers) if _are_alike(layers) else None  # type: ignore[arg-type]


def _are_alike(layers: Sequence[nn.Module]) -> bool:
    """Whether the kernel takes all, and they differ in nothing but how many outputs they have."""
    kinds = {
        (type(one), getattr(one, "group_size", None), one._buffers.get("bias") is None)
        for one in layers
    }
    if len(kinds) > 1 or any("forward" in one.__dict__ for one in layers):
        return False
    return all(
        isinstance(one, QuantizedLinear) and one.has_kernel() and one._buffers["weight"].is_cpu  # type: ignore[union-attr]
        for one in layers
    )

"""How many rows a product needs so that a row's result does not depend on how many there are.

Libraries pick another kernel for one row than for many, and so another order of sums: a token could
then depend on how full the batch is. From some number of rows on, in multiples of it, most give the
same bits (MKL on AVX2: 4; oneDNN: 2). It is tried at the start, on this machine, with the model's
own layers, and steps are filled up to it.
"""

from typing import Any

import torch
from torch import nn

from model.plain.attention import PlainAttention
from model.quantized_linear import QuantizedLinear

_CANDIDATES = (1, 2, 4, 8, 16)
_MOST_ROWS = 96


@torch.inference_mode()
def find_row_block(model: Any) -> int | None:
    """Return the smallest such number, `None` where even 16 rows are not enough.

    Tried on one linear layer of each kind and shape, quantized ones too, and on projections of
    attention, which are one product for few rows.
    """
    layers: dict[tuple[Any, ...], Any] = {}
    for module in model.modules():
        is_plain = isinstance(module, nn.Linear) and type(module.weight) is nn.Parameter
        if is_plain or isinstance(module, QuantizedLinear):
            layers.setdefault((type(module), *module.weight.shape), module)
        if isinstance(module, PlainAttention) and isinstance(module.q_proj, QuantizedLinear):
            layers.setdefault((PlainAttention,), _Projections(module))
    dtype = model.lm_head.weight.dtype
    fit = [
        block
        for block in _CANDIDATES
        if all(_is_steady(layer, block, dtype) for layer in layers.values())
    ]
    return fit[0] if fit else None


class _Projections:
    """Queries, keys and values of rows `[N, in_features]`, side by side."""

    def __init__(self, attention: PlainAttention) -> None:
        self.in_features, self.weight = attention.q_proj.in_features, attention.q_proj.weight
        self._attention = attention

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat(self._attention.projected(rows[None]), dim=1).transpose(1, 2)[0]


def _is_steady(layer: Any, block: int, dtype: torch.dtype) -> bool:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_MOST_ROWS, layer.in_features, generator=generator)
    rows = rows.to(device=layer.weight.device, dtype=dtype)
    whole = layer(rows)
    sizes = sorted({block, 2 * block, 3 * block, 5 * block, 32, 64} - {_MOST_ROWS})
    for size in (size for size in sizes if size % block == 0):
        for first in (0, _MOST_ROWS - size):
            part = slice(first, first + size)
            if not torch.equal(layer(rows[part]), whole[part]):
                return False
    return True

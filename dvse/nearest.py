"""Nearest-code search: for each vector, the index of the closest centroid, in fp32.

`argmin ‖x - c‖²  =  argmax (x·c - ‖c‖²/2)`: one matrix product with a bias. The product goes
through oneDNN where torch has it, which on AMD processors is faster than torch's default (MKL)
for the same numbers; rows are taken in blocks that stay in the processor's cache. A block of a few
rows is filled up, for a product of one row takes another path (a matrix times a vector) and may
differ in the last bit: the code of a vector must not depend on how many came with it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dvse.errors import ConfigError

_BLOCK_ROWS = 4096
_FEWEST_ROWS = 16


def nearest_codes(vectors: Tensor, centroids: Tensor) -> Tensor:
    """Return the index of the nearest centroid (Euclidean) of each vector.

    Args:
        vectors: `[N, dim]`, any floating dtype, compared in fp32.
        centroids: `[K, dim]` on the same device.

    Returns:
        `int64 [N]`, 0 … K-1; the lowest index where several are equally near.

    Raises:
        ConfigError: the widths differ.

    >>> nearest_codes(torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [8.0]])).tolist()
    [0, 1]
    """
    if vectors.ndim != 2 or centroids.ndim != 2 or vectors.shape[1] != centroids.shape[1]:
        raise ConfigError(
            f"expected vectors [N, dim] and centroids [K, dim] of one dim, received "
            f"{list(vectors.shape)} and {list(centroids.shape)}"
        )
    vectors, centroids = vectors.float(), centroids.float().contiguous()
    bias = centroids.square().sum(-1).mul_(-0.5)
    product = _onednn_linear if _has_onednn(vectors) else F.linear
    codes = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS]
        num_rows = len(block)
        if num_rows < _FEWEST_ROWS:
            block = F.pad(block, (0, 0, 0, _FEWEST_ROWS - num_rows))
        nearest = product(block, centroids, bias).argmax(-1)
        codes[start : start + num_rows] = nearest[:num_rows]
    return codes


def _has_onednn(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and torch.backends.mkldnn.is_available()


def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")

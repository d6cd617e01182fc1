"""Nearest-code search: for each vector, the index of the closest centroid, in fp32.

`argmin ‖x - c‖²  =  argmax (x·c - ‖c‖²/2)`: one matrix product with a bias. On processors with
AVX-512 it goes through oneDNN, which on AMD's is half as fast again as torch's default (MKL); with
AVX2 the default is the faster one (82 against 68 GFLOP/s a core, measured). Rows are taken in
blocks, so that memory stays bounded and is used again: with 32 MB a block, which the allocator
gives back to the system each time, 4,096 narrow codes took four times as long (measured). A block
of a few rows is filled up, for a product of one to three rows takes another path (a matrix times a
vector) and may differ in the last bit: the code of a vector must not depend on how many came with
it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dvse.errors import ConfigError

_BLOCK_ROWS = 2048
_BLOCK_SCORES = 2**21  # 8 MB: to ask the system for memory again costs more than the products
_FEWEST_ROWS = 16


@torch.no_grad()
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
    block_rows = max(_FEWEST_ROWS, min(_BLOCK_ROWS, _BLOCK_SCORES // len(centroids)))
    is_onednn = is_onednn_faster(vectors)
    # One buffer for the scores of every block: fresh memory for each costs a tenth of the time.
    rows = 0 if is_onednn else min(block_rows, max(len(vectors), _FEWEST_ROWS))
    scores = torch.empty(rows, len(centroids), device=vectors.device)
    codes = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
    for start in range(0, len(vectors), block_rows):
        block = vectors[start : start + block_rows]
        num_rows = len(block)
        if num_rows < _FEWEST_ROWS:
            block = F.pad(block, (0, 0, 0, _FEWEST_ROWS - num_rows))
        if is_onednn:
            block_scores = onednn_linear(block, centroids, bias)
        else:
            block_scores = torch.addmm(bias, block, centroids.T, out=scores[: len(block)])
        codes[start : start + num_rows] = _argmax(block_scores)[:num_rows]
    return codes


def _argmax(scores: Tensor) -> Tensor:
    # NumPy's is ten times as fast as torch's on a processor, and takes the lowest index as well.
    if scores.device.type == "cpu":
        return torch.from_numpy(scores.numpy().argmax(-1))
    return scores.argmax(-1)


def is_onednn_faster(tensor: Tensor) -> bool:
    """Whether products in fp32 go through oneDNN where this tensor lies."""
    return (
        tensor.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `x @ weight.T + bias` by oneDNN: fp32 `[N, dim]`, `[K, dim]`, `[K]`."""
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")

"""Rotating queries and keys by their position, GLM's way, with few kernels.

GLM rotates neighbouring pairs (2i, 2i + 1) of the first `partial_rotary_factor · head_dim`
dimensions and passes the others on. The angles come from transformers' own module; here they are
laid out once for all layers instead of once a layer, padded with rotations by nothing.
"""

import torch
from torch.nn import functional as F

from .linear import is_plain_eager

# (rotations,) as complex numbers, or (cos, sin): a plain tuple, which device_map moves along.
RotaryTable = tuple[torch.Tensor, ...]
# Up to so many values a rotation costs what its calls cost, not what it computes.
_FEW = 1 << 16


def rotary_table(cos: torch.Tensor, sin: torch.Tensor, head_dim: int) -> RotaryTable:
    """Lay out the angles of `GlmRotaryEmbedding` for `rotate`.

    Args:
        cos, sin: `[B, T, rotary_dim]` as that module returns them: all angles, then all again.
        head_dim: width of a head; what lies behind `rotary_dim` is left as it is.

    Returns:
        For fp32 in eager mode one `[B, 1, T, head_dim / 2]` complex array; otherwise (half
        precision, compiled and exported graphs) cos as (c, c) and sin as (-s, s) for each pair,
        both `[B, 1, T, head_dim]`.
    """
    half = cos.shape[-1] // 2
    cos, sin = cos[:, None, :, :half], sin[:, None, :, :half]
    is_even = head_dim % 2 == 0
    if is_even and cos.dtype is torch.float32 and is_plain_eager():
        rest = head_dim // 2 - half
        return (torch.complex(F.pad(cos, (0, rest), value=1.0), F.pad(sin, (0, rest))),)
    rest = head_dim - 2 * half
    cos = torch.stack((cos, cos), dim=-1).flatten(-2)
    sin = torch.stack((-sin, sin), dim=-1).flatten(-2)
    return F.pad(cos, (0, rest), value=1.0), F.pad(sin, (0, rest))


def rotate(x: torch.Tensor, table: RotaryTable) -> torch.Tensor:
    """Rotate `[B, heads, T, head_dim]` by the angles of its positions; shape and dtype stay.

    Source: Su et al., *RoFormer*, 2021, eq. 34.

    Example:
        >>> quarter = torch.full((1, 1, 2), torch.pi / 2)
        >>> table = rotary_table(quarter.cos(), quarter.sin(), head_dim=4)
        >>> rotate(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), table).round().tolist()
        [[[[-2.0, 1.0, 3.0, 4.0]]]]
    """
    if len(table) == 1:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * table[0]).flatten(-2)
    cos, sin = table
    odd = x.shape[-1] % 2
    is_alike = x.dtype is cos.dtype and not odd
    if is_alike and not torch.is_grad_enabled() and is_plain_eager():
        pairs = x.reshape(*x.shape[:-1], -1, 2)  # the same bits in fewer arrays
        return (x * cos).add_(pairs.flip(-1).view(x.shape).mul_(sin))
    even = x[..., :-1] if odd else x
    swapped = even.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    if odd:
        swapped = F.pad(swapped, (0, 1))
    return x * cos + swapped * sin


def rotate_both(
    query: torch.Tensor, key: torch.Tensor, table: RotaryTable
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate queries `[B, heads, T, head_dim]` and keys `[B, kv_heads, T, head_dim]` alike.

    In half precision few of them, as in decoding, are rotated in one go: the same bits.
    """
    is_joint = len(table) > 1 and query.numel() <= _FEW and not torch.is_grad_enabled()
    if not is_joint or not is_plain_eager():
        return rotate(query, table), rotate(key, table)
    num_heads = query.shape[1]
    both = rotate(torch.cat((query, key), dim=1), table)
    return both[:, :num_heads], both[:, num_heads:]

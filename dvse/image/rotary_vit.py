"""The encoder that `dvse train image` makes, without timm: importing that takes as long as torch.

timm's `vit_*_rope_*` with neither class token nor learned positions: patches, blocks with axial
rotary positions (Heo et al. 2024, "Rotary Position Embedding for Vision Transformer") and layer
scale. Parameters carry timm's names and every operation is timm's, in its order, so that features
are the same bit for bit (a test compares them). It only encodes: training, and every other
encoder, is timm's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TEMPERATURE = 100.0
_NORM_EPS = 1e-6
_MLP_RATIO = 4
_NAMES = {"vit_small_patch16_rope_224", "vit_base_patch16_rope_224"}
_SIZES = {"img_size", "patch_size", "embed_dim", "depth", "num_heads"}
_FIXED = {
    "dynamic_img_size": True,
    "class_token": False,
    "use_abs_pos_emb": False,
    "global_pool": "avg",
    "num_classes": 0,
}


def rotary_options(
    *, img_size: int, patch_size: int, embed_dim: int, depth: int, num_heads: int
) -> dict[str, Any]:
    """Return the options of `timm.create_model` for an encoder that takes any grid.

    Args:
        img_size: side in pixels of the pictures that it is trained on.
        patch_size: side of a patch in pixels.
        embed_dim: width of a feature.
        depth: number of blocks.
        num_heads: of each block.

    >>> rotary_options(img_size=32, patch_size=4, embed_dim=24, depth=1, num_heads=2)["class_token"]
    False
    """
    sizes = {"img_size": img_size, "patch_size": patch_size, "embed_dim": embed_dim}
    return {**sizes, "depth": depth, "num_heads": num_heads, **_FIXED}


class RotaryViT(nn.Module):
    """Patches, blocks, no norm at the end: `fp32 [N, 3, H, W]` to `fp32 [N, H/p, W/p, dim]`.

    Args:
        dim: width of a feature.
        depth: number of blocks.
        num_heads: of each block; `dim / num_heads` is a multiple of 4.
        patch_size: side of a patch in pixels.

    >>> RotaryViT(dim=16, depth=1, num_heads=2, patch_size=4)(torch.zeros(1, 3, 8, 12)).shape
    torch.Size([1, 2, 3, 16])
    """

    def __init__(self, *, dim: int, depth: int, num_heads: int, patch_size: int) -> None:
        super().__init__()
        projection = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.blocks = nn.ModuleList([_Block(dim, num_heads) for _ in range(depth)])
        num_bands = dim // num_heads // 4
        exponents = torch.arange(0, num_bands, dtype=torch.int64).to(torch.float32) / num_bands
        self.bands: Tensor
        self.register_buffer("bands", 1.0 / (_TEMPERATURE**exponents), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features of each patch."""
        patches = self.patch_embed["proj"](pixels).permute(0, 2, 3, 1)
        count, rows, columns, dim = patches.shape
        sin, cos = self._rotations(rows, columns)
        x = patches.reshape(count, -1, dim)
        for block in self.blocks:
            x = block(x, sin, cos)
        return x.reshape(count, rows, columns, dim)

    def _rotations(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Sines and cosines `[rows * columns, head_dim]` of column, then row, at each frequency."""
        device = self.bands.device
        y = torch.arange(rows, device=device, dtype=torch.float32)
        x = torch.arange(columns, device=device, dtype=torch.float32)
        grid = torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns)], dim=-1)
        angles = grid.unsqueeze(-1) * self.bands
        sin, cos = (f(angles).flatten(-2).flatten(0, -2) for f in (torch.sin, torch.cos))
        return sin.repeat_interleave(2, -1), cos.repeat_interleave(2, -1)


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.attn = _Attention(dim, num_heads)
        self.gamma_1 = nn.Parameter(torch.ones(dim))
        self.norm2 = nn.LayerNorm(dim, eps=_NORM_EPS)
        inner = _MLP_RATIO * dim
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, inner), "fc2": nn.Linear(inner, dim)})
        self.gamma_2 = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
        x = x + self.gamma_1 * self.attn(self.norm1(x), sin, cos)
        return x + self.gamma_2 * self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class _Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
        count, length, dim = x.shape
        qkv = self.qkv(x).reshape(count, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k = (_rotate(one, sin, cos).contiguous() for one in (q, k))
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(count, length, dim))


def _rotate(x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    return (x * cos + turned * sin).to(x.dtype)  # angles stay fp32


def rotary_vit(name: str, options: Mapping[str, Any], *, layer: int) -> RotaryViT | None:
    """Return timm's model of this name and options, cut after block `layer`, or `None`.

    `None` says that only timm knows it, or why it is wrong.
    """
    if name not in _NAMES or set(options) != _SIZES | set(_FIXED):
        return None
    sizes = {key: options[key] for key in _SIZES}
    if any(type(size) is not int or size < 1 for size in sizes.values()):
        return None
    if any(
        type(options[key]) is not type(value) or options[key] != value
        for key, value in _FIXED.items()
    ):
        return None
    depth, dim, num_heads = sizes["depth"], sizes["embed_dim"], sizes["num_heads"]
    if dim % num_heads or dim // num_heads % 4 or not -depth <= layer < depth:
        return None
    return RotaryViT(
        dim=dim, depth=layer % depth + 1, num_heads=num_heads, patch_size=sizes["patch_size"]
    )

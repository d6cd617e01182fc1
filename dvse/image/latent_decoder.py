"""TiTok's way back: codes and learned mask tokens through a ViT, and from its patches to pixels.

Yu et al. 2024, "An Image is Worth 32 Tokens for Reconstruction and Generation". Later models end in
pixels of each patch. The first ones end in chances of MaskGIT-VQGAN's codes, whose mean vectors
that VQGAN's decoder turns into pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dvse.errors import ConfigError
from dvse.image.latent_vit import latent_blocks
from dvse.image.maskgit_decoder import MaskgitDecoder, MaskgitDecoderConfig
from dvse.image.placement import check_positive
from dvse.storage.spec_fields import read_fields

_NORM: Any = partial(nn.LayerNorm, eps=1e-5)  # torch's default, which the published code uses


@dataclass(frozen=True, kw_only=True)
class LatentDecoderConfig:
    """Shape of a `LatentDecoder`.

    Attributes:
        image_size, patch_size: sides in pixels.
        num_latents: codes of a picture.
        width, depth, num_heads: of the transformer.
        dim: width of a code vector.
        maskgit: shape of the VQGAN's decoder (`MaskgitDecoderConfig`); empty where patches end in
            pixels.
    """

    image_size: int
    patch_size: int
    num_latents: int
    width: int
    depth: int
    num_heads: int
    dim: int
    maskgit: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = ("image_size", "patch_size", "num_latents", "width", "depth", "num_heads", "dim")
        check_positive(**{name: getattr(self, name) for name in names})
        if self.width % self.num_heads or self.image_size % self.patch_size:
            raise ConfigError(
                f"expected heads that divide the width and patches that divide the size, received "
                f"{self.num_heads} of {self.width} and {self.patch_size} of {self.image_size}"
            )

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


class LatentDecoder(nn.Module):
    """Code vectors `fp32 [N, 1, num_latents, dim]` to pixels in 0 … 1, `fp32 [N, 3, H, W]`.

    >>> config = LatentDecoderConfig(image_size=32, patch_size=16, num_latents=5, width=24, depth=1,
    ...     num_heads=2, dim=4)
    >>> LatentDecoder(config)(torch.zeros(2, 1, 5, 4)).shape
    torch.Size([2, 3, 32, 32])
    """

    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format

    def __init__(self, config: LatentDecoderConfig) -> None:
        super().__init__()
        self.config, self.dim, self.patch_size = config, config.dim, config.patch_size
        width = config.width
        self.embed = nn.Linear(config.dim, width)
        # Class and mask tokens with their positions already added: they are the same each time.
        self.masks = nn.Parameter(torch.zeros(1 + config.side**2, width))
        self.positions = nn.Parameter(torch.zeros(config.num_latents, width))
        self.norm_before = _NORM(width)
        self.blocks = latent_blocks(width, depth=config.depth, num_heads=config.num_heads)
        self.norm_after = _NORM(width)
        self.pixels: nn.Module
        if config.maskgit:
            shape = read_fields(MaskgitDecoderConfig, config.maskgit, where="image decoder")
            self.chances = nn.Sequential(
                nn.Linear(width, 2 * width), nn.Tanh(), nn.Linear(2 * width, shape.num_codes)
            )
            self.pixels = MaskgitDecoder(shape)
        else:
            self.patches = nn.Linear(width, 3 * config.patch_size**2)
            self.pixels = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the pixels."""
        count, side, patch = len(features), self.config.side, self.config.patch_size
        latents = self.embed(features[:, 0]) + self.positions
        x = torch.cat([self.masks.expand(count, -1, -1), latents], dim=1)
        x = self.norm_after(self.blocks(self.norm_before(x))[:, 1 : 1 + side**2])
        if self.config.maskgit:
            chances = self.chances(x).softmax(-1).reshape(count, side, side, -1)
            return self.pixels(chances)
        squares = self.patches(x).reshape(count, side, side, patch, patch, 3)
        return self.pixels(squares.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3))

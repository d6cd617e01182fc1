"""TiTok's encoder: patches and learned latent tokens through one ViT; the latents are the picture.

Yu et al. 2024, "An Image is Worth 32 Tokens for Reconstruction and Generation". The features of a
picture are one row of `num_latents`, each of the codebook's width.

*Deviations* of the published code, kept because its weights were trained with them: the first
models lay latents and channels of the last features out the wrong way round (`is_legacy`).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dvse.errors import ConfigError
from dvse.image.encoder_contract import PictureEncoder
from dvse.image.placement import check_positive, check_scaling

_NORM: Any = partial(nn.LayerNorm, eps=1e-5)  # torch's default, which the published code uses


@dataclass(frozen=True, kw_only=True)
class LatentViTConfig:
    """Shape of a `LatentViT`.

    Attributes:
        image_size, patch_size: sides in pixels.
        num_latents: learned tokens, and so codes of a picture.
        width, depth, num_heads: of the transformer.
        dim: width of a feature.
        is_legacy: how the last features are laid out, see above.
        mean, std: per RGB channel, of pixels scaled to 0 … 1.
    """

    image_size: int
    patch_size: int
    num_latents: int
    width: int
    depth: int
    num_heads: int
    dim: int
    is_legacy: bool
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        names = ("image_size", "patch_size", "num_latents", "width", "depth", "num_heads", "dim")
        check_positive(**{name: getattr(self, name) for name in names})
        if self.width % self.num_heads or self.image_size % self.patch_size:
            raise ConfigError(
                f"expected heads that divide the width and patches that divide the size, received "
                f"{self.num_heads} of {self.width} and {self.patch_size} of {self.image_size}"
            )
        if not isinstance(self.is_legacy, bool):
            raise ConfigError(f"expected is_legacy as true or false, received {self.is_legacy!r}")
        check_scaling(self.mean, self.std)


def latent_blocks(width: int, *, depth: int, num_heads: int) -> nn.Sequential:
    """Return the transformer blocks that TiTok's encoder and decoder share."""
    from timm.models.vision_transformer import Block

    return nn.Sequential(
        *(Block(width, num_heads, qkv_bias=True, norm_layer=_NORM) for _ in range(depth))
    )


class LatentViT(PictureEncoder):
    """`uint8 [N, size, size, 3]` to features `fp32 [N, 1, num_latents, dim]`.

    >>> config = LatentViTConfig(image_size=32, patch_size=16, num_latents=5, width=24, depth=1,
    ...     num_heads=2, dim=4, is_legacy=True)
    >>> LatentViT(config)(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape
    torch.Size([2, 1, 5, 4])
    """

    def __init__(self, config: LatentViTConfig) -> None:
        super().__init__(config.mean, config.std)
        self.config, self.dim, self.patch_size = config, config.dim, config.patch_size
        width, side = config.width, config.image_size // config.patch_size
        self.patch_embed = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1 + side**2, width))
        # The learned tokens with their positions already added: nothing else is made of them.
        self.latents = nn.Parameter(torch.zeros(config.num_latents, width))
        self.norm_before = _NORM(width)
        self.blocks = latent_blocks(width, depth=config.depth, num_heads=config.num_heads)
        self.norm_after = _NORM(width)
        self.project = nn.Linear(width, config.dim)

    def features(self, normalized: Tensor) -> Tensor:
        """Return the features of each latent."""
        patches = self.patch_embed(normalized).flatten(2).transpose(1, 2)
        count, width = len(patches), self.config.width
        x = torch.cat([self.class_token.expand(count, -1, -1), patches], dim=1) + self.positions
        x = torch.cat([x, self.latents.expand(count, -1, -1)], dim=1)
        x = self.blocks(self.norm_before(x))
        latents = self.norm_after(x[:, -self.config.num_latents :])
        if self.config.is_legacy:
            latents = latents.reshape(count, width, self.config.num_latents).transpose(1, 2)
        return self.project(latents)[:, None]

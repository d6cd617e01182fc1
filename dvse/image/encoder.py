"""Pictures to patch features: any timm vision transformer, any layer.

The features of one block come from `forward_intermediates`, so that every ViT of timm (plain,
DeiT, BEiT, EVA, DINO, rotary positions) works through its name. The patch projection may be
exchanged for a convolution stem. Knows nothing of codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dvse.errors import ConfigError
from dvse.image.conv import ConvStem


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Which ViT, and what is read from it.

    Attributes:
        name: a timm model name, for example `vit_small_patch16_224`.
        options: keyword arguments for `timm.create_model` (`img_size`, `depth`, ...).
        layer: the block whose output is taken, 0 … depth-1; -1 is the last one.
        norm: whether the model's final norm is applied to it.
        stem_widths: widths of a `ConvStem` in place of the patch projection; empty keeps that.
        mean, std: per RGB channel, of pixels scaled to 0 … 1.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    layer: int = -1
    norm: bool = True
    stem_widths: tuple[int, ...] = ()
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        for name in ("stem_widths", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "options", dict(self.options))
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"expected a timm model name, received {self.name!r}")
        if not isinstance(self.layer, int) or isinstance(self.layer, bool):
            raise ConfigError(f"expected an integer layer, received {self.layer!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError("expected three means and three positive standard deviations")


class ImageEncoder(nn.Module):
    """`uint8 [N, H, W, 3]` to features `fp32 [N, H/p, W/p, dim]`.

    Raises:
        ConfigError: timm does not know the name, the options or the layer.

    >>> config = EncoderConfig(name="vit_tiny_patch16_224", layer=1,
    ...     options={"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 2})
    >>> ImageEncoder(config).eval()(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape
    torch.Size([2, 2, 2, 24])
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _backbone(config)
        self.register_buffer("mean", 255 * torch.tensor(config.mean), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(config.std), persistent=False)

    @property
    def dim(self) -> int:
        """Width of a feature."""
        return int(self.backbone.embed_dim)

    @property
    def patch_size(self) -> int:
        """Side in pixels of the square that one feature stands for."""
        height, width = self.backbone.patch_embed.patch_size
        if height != width:
            raise ConfigError(f"expected square patches, {self.config.name} has {height}x{width}")
        return int(height)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Return `uint8 [N, H, W, 3]` as `fp32 [N, 3, H, W]` with the config's mean and std."""
        return ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)

    def denormalize(self, pixels: Tensor) -> Tensor:
        """Return `fp32 [N, 3, H, W]` in normalised units as `uint8 [N, H, W, 3]`."""
        pixels = pixels.permute(0, 2, 3, 1) * self.std + self.mean
        return pixels.round().clamp(0, 255).to(torch.uint8)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features of each patch."""
        (features,) = self.backbone.forward_intermediates(
            self.normalize(pixels), indices=1, norm=self.config.norm, intermediates_only=True
        )
        return features.permute(0, 2, 3, 1)


def _backbone(config: EncoderConfig) -> nn.Module:
    import timm

    try:
        backbone = timm.create_model(config.name, pretrained=False, **config.options)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"timm cannot make {config.name!r} with {dict(config.options)}: {error}; "
            "see timm.list_models('*vit*') for names"
        ) from error
    if not hasattr(backbone, "forward_intermediates") or not hasattr(backbone, "patch_embed"):
        raise ConfigError(f"expected a vision transformer, timm's {config.name!r} is none")
    if config.stem_widths:
        side = 2 ** len(config.stem_widths)
        if tuple(backbone.patch_embed.patch_size) != (side, side):
            raise ConfigError(
                f"a stem of {len(config.stem_widths)} widths makes patches of {side} pixels, "
                f"the model's are {tuple(backbone.patch_embed.patch_size)}"
            )
        backbone.patch_embed.proj = ConvStem(list(config.stem_widths), backbone.embed_dim)
    depth = len(backbone.blocks)
    if not -depth <= config.layer < depth:
        raise ConfigError(
            f"expected layer {-depth}..{depth - 1} for {config.name!r}, received {config.layer}"
        )
    # Later blocks and the head are never used: they are not kept, saved or run.
    backbone.prune_intermediate_layers(
        [config.layer % depth], prune_norm=not config.norm, prune_head=True
    )
    return backbone

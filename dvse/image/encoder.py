"""Pictures to patch features: any timm vision transformer, any layer.

The features of one block come from `forward_intermediates`, so that every ViT of timm (plain,
DeiT, BEiT, EVA, DINO, rotary positions) works through its name. The patch projection may be
exchanged for a convolution stem. Knows nothing of codes.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dvse.errors import BundleFormatError, ConfigError
from dvse.image.conv import ConvStem
from dvse.image.encoder_contract import PictureEncoder
from dvse.image.picture_context import ContextStem
from dvse.image.placement import check_scaling
from dvse.image.pooled_stem import PooledStem
from dvse.image.rotary_vit import RotaryViT, rotary_vit
from dvse.storage.weights import read_tensors


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Which ViT, and what is read from it.

    Attributes:
        name: a timm model name, for example `vit_small_patch16_224`.
        options: keyword arguments for `timm.create_model` (`img_size`, `depth`, ...).
        layer: the block whose output is taken, 0 … depth-1; -1 is the last one.
        norm: whether the model's final norm is applied to it.
        stem_widths: widths of a `ConvStem` in place of the patch projection; empty keeps that.
        stem_top: width of the last stage of a `PooledStem` of these widths instead; 0 for none.
        context_widths: widths of a `PictureContext` beside the stem; empty for none.
        mean, std: per RGB channel, of pixels scaled to 0 … 1.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    layer: int = -1
    norm: bool = True
    stem_widths: tuple[int, ...] = ()
    stem_top: int = 0
    context_widths: tuple[int, ...] = ()
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        for name in ("stem_widths", "context_widths", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "options", dict(self.options))
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"expected a timm model name, received {self.name!r}")
        if not isinstance(self.layer, int) or isinstance(self.layer, bool):
            raise ConfigError(f"expected an integer layer, received {self.layer!r}")
        if not isinstance(self.stem_top, int) or self.stem_top < 0:
            raise ConfigError(f"expected a stem_top of at least 0, received {self.stem_top!r}")
        if self.stem_top and not self.stem_widths:
            raise ConfigError("expected stem_widths with stem_top; there is no stem without them")
        if self.context_widths and not 1 <= len(self.stem_widths) <= len(self.context_widths):
            raise ConfigError(
                f"expected at least as many context_widths as stem_widths, which halve the picture "
                f"as often; received {self.context_widths} and {self.stem_widths}"
            )
        check_scaling(self.mean, self.std)


class ImageEncoder(PictureEncoder):
    """`uint8 [N, H, W, 3]` to features `fp32 [N, H/p, W/p, dim]`.

    `dim` is the width of a feature, `patch_size` the side in pixels of the square it stands for.

    Args:
        config: what to build.
        pretrained: a safetensors file of the whole model as timm publishes it; without it the
            weights are random, or filled later.
        is_frozen: weights will be filled and the encoder will only run, so that one that needs no
            timm may stand in for timm's; features are the same.

    Raises:
        ConfigError: timm does not know the name, the options or the layer.
        BundleFormatError, UnsafeFileError: `pretrained` holds other weights, or a pickle.

    >>> config = EncoderConfig(name="vit_tiny_patch16_224", layer=1,
    ...     options={"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 2})
    >>> import torch
    >>> ImageEncoder(config).eval()(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape
    torch.Size([2, 2, 2, 24])
    """

    def __init__(
        self, config: EncoderConfig, *, pretrained: Path | None = None, is_frozen: bool = False
    ) -> None:
        super().__init__(config.mean, config.std)
        self.config = config
        light = None
        if is_frozen and pretrained is None:
            light = rotary_vit(config.name, config.options, layer=config.layer)
        if light is not None:
            self.dim, self.patch_size = config.options["embed_dim"], config.options["patch_size"]
            if config.stem_widths:
                _exchange_stem(light, config, self.dim, (self.patch_size,) * 2)
            self.backbone: Any = light
        else:
            self.backbone, self.dim, self.patch_size = _backbone(config, pretrained)

    @property
    def context_stem(self) -> ContextStem | None:
        """The stem, where it has a `PictureContext` beside it."""
        stem = self.backbone.patch_embed.proj if self.config.context_widths else None
        assert stem is None or isinstance(stem, ContextStem)
        return stem

    def features(self, normalized: Tensor) -> Tensor:
        """Return the features of pictures that `normalize` has brought to `fp32 [N, 3, H, W]`."""
        if isinstance(self.backbone, RotaryViT):
            return self.backbone(normalized)
        (features,) = self.backbone.forward_intermediates(
            normalized, indices=1, norm=self.config.norm, intermediates_only=True
        )
        return features.permute(0, 2, 3, 1)


def _backbone(config: EncoderConfig, pretrained: Path | None) -> tuple[Any, int, int]:
    import timm

    try:
        backbone: Any = timm.create_model(config.name, pretrained=False, **config.options)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"timm cannot make {config.name!r} with {dict(config.options)}: {error}; "
            "see timm.list_models('*vit*') for names"
        ) from error
    layers = list(getattr(backbone, "feature_info", ()))
    if not layers or not hasattr(backbone, "forward_intermediates"):
        raise ConfigError(f"expected a vision transformer, timm's {config.name!r} is none")
    depth = len(layers)
    if not -depth <= config.layer < depth:
        raise ConfigError(
            f"expected layer {-depth}..{depth - 1} for {config.name!r}, received {config.layer}"
        )
    dim, patch_size = layers[config.layer]["num_chs"], int(layers[config.layer]["reduction"])
    if config.stem_widths:
        found = tuple(getattr(getattr(backbone, "patch_embed", None), "patch_size", ()))
        _exchange_stem(backbone, config, dim, found)
    missing = [] if pretrained is None else _load_pretrained(backbone, pretrained)
    # Later blocks and the head are never used: they are not kept, saved or run.
    backbone.prune_intermediate_layers(
        [config.layer % depth], prune_norm=not config.norm, prune_head=True
    )
    if lost := sorted(set(missing) & set(backbone.state_dict())):
        raise BundleFormatError(
            f"{pretrained}: expected the weights of {config.name!r}, tensor {lost[0]!r} is missing"
        )
    return backbone, dim, patch_size


def _exchange_stem(backbone: Any, config: EncoderConfig, dim: int, found: tuple[int, ...]) -> None:
    side = 2 ** len(config.stem_widths)
    if found != (side, side):
        raise ConfigError(
            f"a stem of {len(config.stem_widths)} widths makes patches of {side} pixels; "
            f"{config.name!r} has {found or 'none'}"
        )
    widths = list(config.stem_widths)
    stem: nn.Module = (
        PooledStem(widths, config.stem_top, dim) if config.stem_top else ConvStem(widths, dim)
    )
    if config.context_widths:
        stem = ContextStem(stem, num_halvings=len(widths), widths=config.context_widths, dim=dim)
    backbone.patch_embed.proj = stem


def _load_pretrained(backbone: nn.Module, path: Path) -> list[str]:
    """Fill a model as timm does, and return the names of the tensors that the file lacks."""
    tensors = read_tensors(path)
    # The family's own filter renames older checkpoints and resamples positions to another grid.
    rename = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    try:
        tensors = rename(tensors, backbone) if rename is not None else tensors
        return list(backbone.load_state_dict(tensors, strict=False).missing_keys)
    except (RuntimeError, KeyError, ValueError) as error:
        message = " ".join(str(error).split())[:300]
        raise BundleFormatError(f"{path}: weights of another network; {message}") from error

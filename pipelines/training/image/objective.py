"""What quantized features have to rebuild: the pixels, or what a frozen teacher sees.

`PixelReconstruction` leaves a pixel decoder, so codes can be looked at. `FeatureDistillation` is
vector-quantized knowledge distillation (BEiT v2, Peng et al. 2022, section 2.1): the codes of a
picture must rebuild a teacher's features of its patches, so that they speak of content instead of
colour. What a tokenizer does not need (the teacher and the decoder to its features) is dropped.
"""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvse.errors import ConfigError
from dvse.image.conv import ResidualBlock, conv_block
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.pixel_decoder import DecoderConfig, PixelDecoder


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What came out of codes, beside what went in.

    Attributes:
        loss: scalar, what is trained on.
        target, rebuilt: of one shape; pixels `fp32 [M, 3, H, W]` or features `fp32 [M, h, w, dim]`.
    """

    loss: Tensor
    target: Tensor
    rebuilt: Tensor


class ImageObjective(nn.Module):
    """From quantized features to a loss.

    Attributes:
        name: of the loss in logs.
        decoder: what a tokenizer keeps; `None` where there is no way back to pixels.
    """

    name: str
    decoder: PixelDecoder | None

    @abstractmethod
    def forward(self, quantized: Tensor, pixels: Tensor, encoder: ImageEncoder) -> Rebuilt:
        """Rebuild the target of `pixels` `uint8 [M, H, W, 3]` from features `[M, h, w, dim]`."""


class PixelReconstruction(ImageObjective):
    """Mean squared error of pixels in the encoder's normalised units.

    Raises:
        ConfigError: decoder widths that make patches of another size than the encoder's.
    """

    name = "pixels"

    def __init__(self, encoder: ImageEncoder, *, widths: tuple[int, ...], num_blocks: int) -> None:
        super().__init__()
        self.decoder = PixelDecoder(
            DecoderConfig(dim=encoder.dim, widths=widths, num_blocks=num_blocks)
        )
        if self.decoder.patch_size != encoder.patch_size:
            raise ConfigError(
                f"expected decoder widths for patches of {encoder.patch_size} pixels (one "
                f"more width than halvings), received {widths}"
            )

    def forward(self, quantized: Tensor, pixels: Tensor, encoder: ImageEncoder) -> Rebuilt:
        """Decode and compare."""
        target = encoder.normalize(pixels)
        assert self.decoder is not None
        rebuilt = self.decoder(quantized).float()
        return Rebuilt(loss=F.mse_loss(rebuilt, target), target=target, rebuilt=rebuilt)


class FeatureDistillation(ImageObjective):
    """One minus the cosine between a teacher's features and those rebuilt from codes.

    *Deviations:* the decoder is convolutional instead of three transformer blocks, so that it takes
    any grid; the teacher may be any ViT of timm.

    Args:
        dim: width of the quantized features.
        teacher: see `load_teacher`; it is frozen and not part of this module's state.
        num_blocks: residual blocks of the decoder.
    """

    name = "features"

    def __init__(self, dim: int, teacher: ImageEncoder, *, num_blocks: int) -> None:
        super().__init__()
        self.decoder = None
        width = max(dim, 64)
        self.to_features = nn.Sequential(
            conv_block(dim, width),
            *(ResidualBlock(width) for _ in range(num_blocks)),
            nn.Conv2d(width, teacher.dim, 1),
        )
        # In a list, so that neither checkpoints nor optimizers know of it.
        self._teacher = [teacher]

    @torch.no_grad()
    def teacher_features(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the teacher's features `fp32 [M, *grid, dim]` of pictures brought to that grid."""
        teacher = self._teacher[0].to(pixels.device)
        size = [side * teacher.patch_size for side in grid]
        scaled = F.interpolate(
            teacher.normalize(pixels), size=size, mode="bilinear", align_corners=False
        )
        return teacher.features(scaled).float()

    def forward(self, quantized: Tensor, pixels: Tensor, encoder: ImageEncoder) -> Rebuilt:
        """Rebuild the teacher's features and compare their directions."""
        rows, columns = quantized.shape[1:3]
        target = self.teacher_features(pixels, (rows, columns))
        rebuilt = self.to_features(quantized.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).float()
        loss = 1 - F.cosine_similarity(rebuilt, target, dim=-1).mean()
        return Rebuilt(loss=loss, target=target, rebuilt=rebuilt)


def load_teacher(name: str, weights: Path, *, layer: int = -1) -> ImageEncoder:
    """Return a frozen ViT of timm with weights from a safetensors file.

    It takes pictures of any size, normalised as timm says it was trained.

    Raises:
        ConfigError: timm does not know the name or the layer.
        BundleNotFoundError, BundleFormatError, UnsafeFileError: no such file, or not its weights.
    """
    import timm

    try:
        published: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise ConfigError(f"timm knows no {name!r}; see timm.list_models('*vit*')") from error
    config = EncoderConfig(
        name=name,
        options={"dynamic_img_size": True},
        layer=layer,
        mean=published.mean,
        std=published.std,
    )
    return ImageEncoder(config, pretrained=weights).eval().requires_grad_(False)

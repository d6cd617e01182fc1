"""The network that an image codebook is trained in: encoder, quantizer, objective, label head.

Everything that a trained tokenizer keeps comes from `dvse.image`; what only training needs (the
quantizer with its moving averages, the objective, the label head) is added here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from dvse.errors import ConfigError
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.pixel_decoder import PixelDecoder
from dvse.image.quantizer import ImageQuantizer
from pipelines.training.image.objective import (
    FeatureDistillation,
    ImageObjective,
    PixelReconstruction,
)
from pipelines.training.image.quantizers import make_quantizer
from pipelines.training.image.settings import DecoderShape, QuantizerConfig


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Shape of the network.

    Attributes:
        encoder: the ViT.
        quantizer: the codebook or lattice.
        decoder: the way back to pixels, or to a teacher's features.
        num_labels: classes of the label head, 0 for none.
    """

    encoder: EncoderConfig
    quantizer: QuantizerConfig
    decoder: DecoderShape
    num_labels: int = 0

    def __post_init__(self) -> None:
        if self.num_labels < 0:
            raise ConfigError(f"expected at least no labels, received {self.num_labels}")


@dataclass(frozen=True, kw_only=True)
class CodecOutput:
    """One forward pass: what was rebuilt, codes, commitment loss, votes for labels.

    Attributes:
        loss: scalar, of the objective.
        rebuilt: of the first pictures, see `pipelines.training.image.objective.Rebuilt`; of pixels
            `fp32 [M, 3, H, W]` in normalised units.
        codes: `int64 [N, h, w, num_levels]`.
        commitment: scalar.
        votes: `fp32 [N, h, w, num_labels]` or `None`; their mean over patches are the logits.
    """

    loss: Tensor
    rebuilt: Tensor
    codes: Tensor
    commitment: Tensor
    votes: Tensor | None


class ImageCodec(nn.Module):
    """`uint8 [N, H, W, 3]` to codes and back, differentiable.

    Args:
        config: shapes.
        teacher: whose features codes have to rebuild; by default they rebuild pixels.

    Raises:
        MissingExtraError: vector-quantize-pytorch is not installed.
    """

    def __init__(self, config: CodecConfig, *, teacher: ImageEncoder | None = None) -> None:
        super().__init__()
        self.config = config
        self._frozen: list[nn.Module] = []
        self.encoder = ImageEncoder(config.encoder)
        _attend_plainly(self.encoder)
        self.quantizer = make_quantizer(self.encoder.dim, config.quantizer)
        self.objective: ImageObjective
        if teacher is None:
            self.objective = PixelReconstruction(
                self.encoder, widths=config.decoder.widths, num_blocks=config.decoder.num_blocks
            )
        else:
            self.objective = FeatureDistillation(
                self.encoder.dim, teacher, num_blocks=config.decoder.num_blocks
            )
        # A label is voted for by each code alone, so that what a class looks like must be in the
        # codes themselves and not in how a head combines them.
        self.votes = (
            nn.Sequential(
                nn.Linear(self.encoder.dim, self.encoder.dim),
                nn.GELU(),
                nn.Linear(self.encoder.dim, config.num_labels),
            )
            if config.num_labels
            else None
        )

    def forward(
        self, pixels: Tensor, *, num_decoded: int | None = None, hardness: float = 1.0
    ) -> CodecOutput:
        """Encode and quantize all pictures, decode the first `num_decoded` (`None`: all).

        `hardness` 0 … 1 blends from features on the sphere of the codes to the codes themselves:
        an encoder learns several times faster while no codebook stands in between.
        """
        features = self.encoder(pixels)
        n, rows, columns, dim = features.shape
        features = features.reshape(n, rows * columns, dim)
        found = self.quantizer(features)
        quantized = found.features
        if hardness < 1:
            quantized = torch.lerp(self.quantizer.unquantized(features), quantized, hardness)
        quantized = quantized.reshape(n, rows, columns, dim)
        rebuilt = self.objective(quantized[:num_decoded], pixels[:num_decoded], self.encoder)
        return CodecOutput(
            loss=rebuilt.loss,
            rebuilt=rebuilt.rebuilt,
            codes=found.codes.reshape(n, rows, columns, -1),
            commitment=found.commitment,
            votes=None if self.votes is None else self.votes(quantized).float(),
        )

    def freeze(self, module: nn.Module) -> None:
        """Let a part of the network be as it is: neither its weights nor its statistics change."""
        module.requires_grad_(False).eval()
        self._frozen.append(module)

    def train(self, mode: bool = True) -> Self:
        """As every module's, but for what is frozen."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    @property
    def decoder(self) -> PixelDecoder | None:
        """The pixel decoder that a tokenizer keeps, where there is one."""
        return self.objective.decoder

    def export_quantizer(self) -> ImageQuantizer:
        """Return the quantizer as a tokenizer uses it."""
        return self.quantizer.export()


def _attend_plainly(encoder: ImageEncoder) -> None:
    """Let the encoder's attention be two products and a softmax, as timm knows it.

    On a processor the fused one's gradient in bf16 takes 50 ms where this takes 3 (64 pictures of
    64 patches, four heads of 32); the few patches of a picture do not need what it saves.
    """
    modules: Iterable[Any] = encoder.modules()
    for module in modules:
        if hasattr(module, "fused_attn"):
            module.fused_attn = False

"""The network that an image codebook is trained in: encoder, quantizer, decoder, label head.

Everything that a trained tokenizer keeps comes from `dvse.image`; what only training needs (the
quantizer of vector-quantize-pytorch with its moving averages, the label head) is added here.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dvse.codebook import Codebook
from dvse.errors import ConfigError, MissingExtraError
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.pixel_decoder import DecoderConfig, PixelDecoder
from dvse.image.quantizer import CodebookQuantizer


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Shape of the network.

    Attributes:
        encoder: the ViT.
        num_codes: size of the codebook.
        code_dim: width in which codes are compared (ViT-VQGAN's factorised codes).
        decoder_widths: channels of the pixel decoder, from the grid to full resolution.
        decoder_blocks: its residual blocks.
        num_labels: classes of the label head, 0 for none.
    """

    encoder: EncoderConfig
    num_codes: int
    code_dim: int
    decoder_widths: tuple[int, ...]
    decoder_blocks: int
    num_labels: int = 0

    def __post_init__(self) -> None:
        if self.num_codes < 2 or self.code_dim < 1 or self.num_labels < 0:
            raise ConfigError(
                f"expected at least two codes of at least one channel, received {self.num_codes} "
                f"codes of {self.code_dim}"
            )


@dataclass(frozen=True, kw_only=True)
class CodecOutput:
    """One forward pass: pixels in normalised units, codes, commitment loss, votes for labels.

    Attributes:
        target, pixels: `fp32 [N, 3, H, W]`, what went in and what came out.
        codes: `int64 [N, h, w]`.
        commitment: scalar.
        votes: `fp32 [N, h, w, num_labels]` or `None`; their mean over patches are the logits.
    """

    target: Tensor
    pixels: Tensor
    codes: Tensor
    commitment: Tensor
    votes: Tensor | None


class ImageCodec(nn.Module):
    """`uint8 [N, H, W, 3]` to codes and back, differentiable.

    Raises:
        MissingExtraError: vector-quantize-pytorch is not installed.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config.encoder)
        self.quantizer = _quantizer(self.encoder.dim, config)
        self.decoder = PixelDecoder(
            DecoderConfig(
                dim=self.encoder.dim,
                widths=config.decoder_widths,
                num_blocks=config.decoder_blocks,
            )
        )
        if self.decoder.patch_size != self.encoder.patch_size:
            raise ConfigError(
                f"expected decoder widths for patches of {self.encoder.patch_size} pixels (one "
                f"more width than halvings), received {config.decoder_widths}"
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

    def forward(self, pixels: Tensor) -> CodecOutput:
        """Encode, quantize, decode."""
        features = self.encoder(pixels)
        n, rows, columns, dim = features.shape
        quantized, codes, commitment = self.quantizer(features.reshape(n, rows * columns, dim))
        quantized = quantized.reshape(n, rows, columns, dim)
        return CodecOutput(
            target=self.encoder.normalize(pixels),
            pixels=self.decoder(quantized),
            codes=codes.reshape(n, rows, columns),
            commitment=commitment.sum(),
            votes=None if self.votes is None else self.votes(quantized),
        )

    @torch.no_grad()
    def export_quantizer(self) -> CodebookQuantizer:
        """Return the quantizer as a tokenizer uses it: centroids and the two projections."""
        centroids = self.quantizer._codebook.embed.detach()
        return CodebookQuantizer(
            Codebook(centroids.float(), metric="cosine"),
            project_in=_linear(self.quantizer.project_in),
            project_out=_linear(self.quantizer.project_out),
        )


def _linear(layer: nn.Module) -> nn.Linear | None:
    if isinstance(layer, nn.Sequential):
        layer = layer[0]
    return layer if isinstance(layer, nn.Linear) else None


def _quantizer(dim: int, config: CodecConfig) -> Any:
    try:
        from vector_quantize_pytorch import VectorQuantize
    except ImportError as error:
        raise MissingExtraError.for_extra("vector-quantize-pytorch", "train") from error
    return VectorQuantize(
        dim=dim,
        codebook_size=config.num_codes,
        codebook_dim=config.code_dim,
        use_cosine_sim=True,
        decay=0.97,
        threshold_ema_dead_code=1,
        kmeans_init=True,
        commitment_weight=1.0,
    )

"""Features of a grid of codes back to pixels, by convolutions only: any grid size works."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dvse.errors import ConfigError
from dvse.image.conv import ResidualBlock, conv_block


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Shape of a `PixelDecoder`.

    Attributes:
        dim: width of the features that come in.
        widths: channels at the grid's resolution and after each doubling of it.
        num_blocks: residual blocks at the grid's resolution.
    """

    dim: int
    widths: tuple[int, ...]
    num_blocks: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.dim < 1 or not self.widths or min(self.widths) < 1 or self.num_blocks < 0:
            raise ConfigError(f"expected positive widths and dim, received {self}")


class PixelDecoder(nn.Module):
    """`fp32 [N, h, w, dim]` to pixels `fp32 [N, 3, h*p, w*p]`, with `p = 2 ** (len(widths) - 1)`.

    Pixels are in the encoder's normalised units. Doubling is a convolution and a rearrangement
    of channels (Shi et al. 2016, sub-pixel convolution).

    >>> decoder = PixelDecoder(DecoderConfig(dim=8, widths=(16, 8, 4)))
    >>> decoder(torch.zeros(1, 3, 5, 8)).shape
    torch.Size([1, 3, 12, 20])
    """

    memory_format: ClassVar[torch.memory_format] = torch.channels_last

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        first, *later = config.widths
        layers: list[nn.Module] = [conv_block(config.dim, first)]
        layers += [ResidualBlock(first) for _ in range(config.num_blocks)]
        width = first
        for narrower in later:
            layers += [
                nn.Conv2d(width, 4 * narrower, 3, padding=1),
                nn.PixelShuffle(2),
                nn.ReLU(inplace=True),
            ]
            width = narrower
        layers.append(nn.Conv2d(width, 3, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    @property
    def patch_size(self) -> int:
        """Side in pixels of what one feature becomes."""
        return 2 ** (len(self.config.widths) - 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the pixels."""
        return self.layers(features.permute(0, 3, 1, 2))

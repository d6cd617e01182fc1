"""What every picture encoder is: pixels in, a grid of features out, and how pixels are scaled."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dvse.precision import computing_dtype


class PictureEncoder(nn.Module):
    """`uint8 [N, H, W, 3]` to features `fp32 [N, rows, columns, dim]`.

    Args:
        mean, std: per RGB channel, of pixels scaled to 0 … 1.

    Attributes:
        config: the dataclass that it was made from.
        dim: width of a feature.
        patch_size: side in pixels of the square that sides of a picture are multiples of.
        memory_format: how its weights lie in memory.
    """

    config: Any
    dim: int
    patch_size: int
    memory_format: ClassVar[torch.memory_format] = torch.channels_last

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(mean), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std), persistent=False)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Return `uint8 [N, H, W, 3]` as `fp32 [N, 3, H, W]` with the config's mean and std."""
        return ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)

    def denormalize(self, pixels: Tensor) -> Tensor:
        """Return `fp32 [N, 3, H, W]` in normalised units as `uint8 [N, H, W, 3]`."""
        pixels = pixels.permute(0, 2, 3, 1) * self.std + self.mean
        return pixels.round().clamp(0, 255).to(torch.uint8)

    @abstractmethod
    def features(self, normalized: Tensor) -> Tensor:
        """Return the features of pictures that `normalize` has brought to `fp32 [N, 3, H, W]`."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features of each place of the grid, fp32 whatever precision weights have."""
        dtype = computing_dtype(self)
        features = self.features(self.normalize(pixels).to(dtype))
        return features if dtype == torch.float32 else features.float()

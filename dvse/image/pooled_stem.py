"""A stem that is most of the encoder: a residual network down to the grid of patches.

It halves the picture by pooling and has its widest stage at the grid, where a `ConvStem` halves by
strides and ends at the width of the transformer. Pooling costs the same and learns several times
faster on processors, for want of a fast gradient of strided convolutions in bf16.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from dvse.image.conv import ResidualBlock, conv_block


class PooledStem(nn.Module):
    """`[N, 3, H, W]` to patch features `[N, dim, H/p, W/p]`, where `p = 2 ** len(widths)`.

    Full resolution at `widths[0]`; then each stage halves it by max-pooling, widens it and adds a
    residual block (He et al. 2016). The last stage has `top` channels, and a 1x1 convolution brings
    them to `dim`.

    >>> import torch
    >>> PooledStem([8, 16], 64, 32)(torch.zeros(1, 3, 32, 64)).shape
    torch.Size([1, 32, 8, 16])
    """

    def __init__(self, widths: list[int], top: int, dim: int) -> None:
        super().__init__()
        first = conv_block(3, widths[0])
        first[0] = _FirstConv(3, widths[0], 3, padding=1, bias=False)
        layers: list[nn.Module] = [first]
        for narrow, wide in zip(widths, [*widths[1:], top], strict=True):
            layers += [nn.MaxPool2d(2), conv_block(narrow, wide), ResidualBlock(wide)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(top, dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the patch features."""
        return self.layers(x)


class _FirstConv(nn.Conv2d):
    """A 3x3 convolution whose weights learn by a matrix product.

    The gradient of a convolution over three channels in bf16 took a third of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the same either way, but for the order of sums."""
        if not self.training:
            return super().forward(x)
        patches = F.unfold(x, 3, padding=1).transpose(1, 2)  # [N, H * W, 27]
        flat = F.linear(patches, self.weight.flatten(1))
        return flat.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)

"""The convolution blocks that the patch stem and the pixel decoder are built from.

Small convolutional networks learn edges and colours in fewer passes than a patch projection does
(Xiao et al. 2021, *Early Convolutions Help Transformers See Better*). Batch norm is fine for
tokenizing: outside training it uses stored statistics, so no picture sees its neighbours.
"""

from torch import Tensor, nn


def conv_block(in_width: int, out_width: int, *, stride: int = 1) -> nn.Sequential:
    """Return 3x3 convolution, batch norm, ReLU: `[N, in, H, W]` to `[N, out, H/stride, W/stride]`.

    >>> import torch
    >>> conv_block(3, 8, stride=2)(torch.zeros(2, 3, 6, 4)).shape
    torch.Size([2, 8, 3, 2])
    """
    return nn.Sequential(
        nn.Conv2d(in_width, out_width, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_width),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection (He et al. 2016), `[N, width, H, W]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_block(width, width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ReLU(x + body(x))."""
        return (x + self.body(x)).relu()


class ConvStem(nn.Module):
    """Picture to patch features by convolutions, instead of one strided projection.

    `[N, 3, H, W]` to `[N, dim, H/p, W/p]`, where `p = 2 ** len(widths)`: full resolution at
    `widths[0]`, then each stage halves it and adds a residual block.

    >>> import torch
    >>> ConvStem([8, 16], 32)(torch.zeros(1, 3, 32, 64)).shape
    torch.Size([1, 32, 8, 16])
    """

    def __init__(self, widths: list[int], dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_block(3, widths[0])]
        for narrow, wide in zip(widths, [*widths[1:], dim], strict=True):
            layers += [conv_block(narrow, wide, stride=2), ResidualBlock(wide)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the patch features."""
        return self.layers(x)

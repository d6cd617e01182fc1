"""What a patch cannot know from its surroundings alone: the picture that it is part of.

A convolutional network that has learnt to tell pictures apart stands beside the stem of an encoder.
Its last grid is coarser than that of the patches; each of its places is added to the patches below
it, so that codes of 4x4 pixels can say what the whole shows. It has no normalisation: what it
learnt with is folded into its weights (`pipelines/training/image/context.py`).
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

_FIRST = 24
"""Channels of the first convolution: the twelve directions of 2x2 RGB pixels, either sign."""


class PictureContext(nn.Module):
    """`[N, 3, H, W]` to `[N, widths[-1], ceil(H / s), ceil(W / s)]`, where `s = 2 ** len(widths)`.

    A convolution of 2x2 pixels; then stages, each a 3x3 convolution, max-pooling by two, and
    another 3x3 convolution, with GELU behind the pooling and behind the second one.

    >>> import torch
    >>> PictureContext((8, 16, 32))(torch.zeros(1, 3, 32, 36)).shape
    torch.Size([1, 32, 4, 5])
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, _FIRST, 2)
        self.stages = nn.ModuleList(
            [
                nn.ModuleList(
                    [
                        nn.Conv2d(narrow, wide, 3, padding=1),
                        nn.Conv2d(wide, wide, 3, padding=1),
                    ]
                )
                for narrow, wide in zip((_FIRST, *widths), widths, strict=False)
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of each place of the coarse grid."""
        x = F.gelu(self.first(F.pad(x, (0, 1, 0, 1), mode="replicate")))
        stages: Any = self.stages
        for before, behind in stages:
            x = F.gelu(F.max_pool2d(before(x), 2, ceil_mode=True))
            x = F.gelu(behind(x))
        return x


class ContextStem(nn.Module):
    """A stem whose patches hear of the picture: `[N, 3, H, W]` to `[N, dim, H / p, W / p]`.

    Begins as the stem alone, for the join of the context is zero at first.

    Args:
        stem: with `layers` that lead to patches of `2 ** num_halvings` pixels.
        num_halvings: of the stem; at most as many as `widths`.
        widths: of the `PictureContext`.
        dim: width of a patch.

    >>> import torch
    >>> from dvse.image.conv import ConvStem
    >>> stem = ContextStem(ConvStem([8, 16], 32), num_halvings=2, widths=(8, 8, 8), dim=32)
    >>> stem(torch.zeros(1, 3, 32, 36)).shape
    torch.Size([1, 32, 8, 9])
    """

    def __init__(self, stem: Any, *, num_halvings: int, widths: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.layers: nn.Module = stem.layers
        self.context = PictureContext(widths)
        self.join = nn.Conv2d(widths[-1], dim, 1)
        self._patches = 2 ** (len(widths) - num_halvings)
        nn.init.zeros_(self.join.weight)
        assert self.join.bias is not None
        nn.init.zeros_(self.join.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the patch features."""
        patches = self.layers(x)
        seen = self.join(self.context(x))
        for axis in (2, 3):
            seen = seen.repeat_interleave(self._patches, dim=axis)
        return patches + seen[:, :, : patches.shape[2], : patches.shape[3]]

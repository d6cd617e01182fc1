"""MaskGIT-VQGAN's decoder: chances of its codes to pixels, by convolutions.

Chang et al. 2022, "MaskGIT: Masked Generative Image Transformer": the VQGAN of Esser et al. 2021
without attention.

*Deviations* of the published code, kept because its weights were trained with them: where a block
changes the width, its shortcut goes from the block's own output.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from dvse.errors import ConfigError
from dvse.image.placement import check_positive

_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class MaskgitDecoderConfig:
    """Shape of a `MaskgitDecoder`.

    Attributes:
        num_codes, code_dim: of its codebook.
        widths: channels at the full resolution, and at each halving of it.
        num_blocks: residual blocks at each resolution, and in the middle.
    """

    num_codes: int
    code_dim: int
    widths: tuple[int, ...]
    num_blocks: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_positive(num_codes=self.num_codes, code_dim=self.code_dim, num_blocks=self.num_blocks)
        if not self.widths or any(width % _GROUPS for width in self.widths):
            raise ConfigError(f"expected widths that {_GROUPS} divides, received {self.widths}")


class MaskgitDecoder(nn.Module):
    """Chances `fp32 [N, h, w, num_codes]` to pixels `fp32 [N, 3, h*s, w*s]`, s = 2^(levels - 1).

    >>> import torch
    >>> shape = MaskgitDecoderConfig(num_codes=8, code_dim=4, widths=(32, 64), num_blocks=1)
    >>> MaskgitDecoder(shape)(torch.zeros(1, 3, 3, 8)).shape
    torch.Size([1, 3, 6, 6])
    """

    def __init__(self, config: MaskgitDecoderConfig) -> None:
        super().__init__()
        self.codes = nn.Linear(config.num_codes, config.code_dim, bias=False)
        *_, deepest = config.widths
        self.conv_in = nn.Conv2d(config.code_dim, deepest, 3, padding=1)
        self.mid = nn.ModuleList([_Block(deepest, deepest) for _ in range(config.num_blocks)])
        width = deepest
        levels: list[_Level] = []
        for number in reversed(range(len(config.widths))):
            own = config.widths[number]
            levels.insert(0, _Level(width, own, config.num_blocks, is_doubled=number > 0))
            width = own
        self.up = nn.ModuleList(levels)
        self.norm_out = nn.GroupNorm(_GROUPS, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, chances: Tensor) -> Tensor:
        """Return the pixels."""
        x = self.conv_in(self.codes(chances).permute(0, 3, 1, 2))
        for block in self.mid:
            x = block(x)
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class _Level(nn.Module):
    def __init__(self, width: int, own: int, num_blocks: int, *, is_doubled: bool) -> None:
        super().__init__()
        blocks = [_Block(width if i == 0 else own, own) for i in range(num_blocks)]
        self.block = nn.ModuleList(blocks)
        self.upsample_conv = nn.Conv2d(own, own, 3, padding=1) if is_doubled else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.upsample_conv is None:
            return x
        return self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class _Block(nn.Module):
    def __init__(self, width: int, own: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, width, eps=1e-6)
        self.conv1 = nn.Conv2d(width, own, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, own, eps=1e-6)
        self.conv2 = nn.Conv2d(own, own, 3, padding=1, bias=False)
        self.nin_shortcut = nn.Conv2d(own, own, 1, bias=False) if width != own else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return y + (x if self.nin_shortcut is None else self.nin_shortcut(y))

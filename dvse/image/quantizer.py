"""Features to codes and back: a codebook behind projections, or a lattice without a codebook.

What `dvse.codebook.Codebook` does not cover. `CodebookQuantizer` compares features in a narrow
space (factorised codes, Yu et al. 2022, ViT-VQGAN, section 3.2). `LatticeQuantizer` rounds each of
a few channels (finite scalar quantization, Mentzer et al. 2023). Both take features `[N, dim]` and
give codes `[N, num_levels]`.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from dvse.codebook import Codebook
from dvse.errors import ConfigError, IdRangeError
from dvse.image.tanh_mlp import TanhMlp


class ImageQuantizer(nn.Module):
    """The contract: features to codes, codes to features, between two optional maps."""

    project_in: nn.Linear | TanhMlp | None
    project_out: nn.Linear | None

    @property
    @abstractmethod
    def num_codes(self) -> int:
        """Codes in a level."""

    @property
    @abstractmethod
    def num_levels(self) -> int:
        """Residual levels."""

    @property
    @abstractmethod
    def code_dim(self) -> int:
        """Width in which features are quantized."""

    @abstractmethod
    def _quantize(self, features: Tensor, num_needed: int | None) -> Tensor: ...

    @abstractmethod
    def _restore(self, codes: Tensor) -> Tensor: ...

    def encode(self, features: Tensor, num_needed: int | None = None) -> Tensor:
        """Return codes `int64 [num_needed, num_levels]` of the first of features `fp32 [N, dim]`.

        All are projected, for the shape of that product may decide its last bits; where codes are
        searched for, that is done for the needed ones alone (all by default).
        """
        if self.project_in is not None:
            features = self.project_in(features)
        return self._quantize(features, num_needed)

    def decode(self, codes: Tensor) -> Tensor:
        """Return features `fp32 [N, dim]` of codes `[N, num_levels]`.

        Raises:
            IdRangeError: a code outside 0 … num_codes-1.
        """
        features = self._restore(codes)
        return features if self.project_out is None else self.project_out(features)


class CodebookQuantizer(ImageQuantizer):
    """The nearest centroid of a codebook.

    >>> book = Codebook(torch.tensor([[[0.0], [1.0]]]))
    >>> CodebookQuantizer(book).encode(torch.tensor([[0.7], [0.2]])).tolist()
    [[1], [0]]
    """

    def __init__(
        self,
        codebook: Codebook,
        *,
        project_in: nn.Linear | TanhMlp | None = None,
        project_out: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.codebook = codebook
        self.project_in = project_in
        self.project_out = project_out

    @property
    def num_codes(self) -> int:
        """Codes in a level."""
        return self.codebook.num_codes

    @property
    def num_levels(self) -> int:
        """Residual levels."""
        return self.codebook.num_levels

    @property
    def code_dim(self) -> int:
        """Width of a centroid."""
        return self.codebook.dim

    def _apply(self, fn, recurse: bool = True) -> "CodebookQuantizer":  # type: ignore[no-untyped-def]
        # The codebook is no module: it follows to the device on which the projections go.
        super()._apply(fn, recurse)
        device = fn(torch.empty(0)).device
        if device != self.codebook.centroids.device:
            self.codebook = self.codebook.to(device)
        return self

    def _quantize(self, features: Tensor, num_needed: int | None) -> Tensor:
        return self.codebook.encode(features[:num_needed])

    def _restore(self, codes: Tensor) -> Tensor:
        return self.codebook.decode(codes)


class LatticeQuantizer(ImageQuantizer):
    """Finite scalar quantization: channel i is squashed and rounded to one of `levels[i]` values.

    `bound(z) = h tanh(z + s) - o` with `h = (L-1)(1+e)/2`, `o = 1/2` for even L and 0 for odd,
    `s = atanh(o/h)`; the code is the mixed-radix number of the rounded channels, first channel
    fastest (Mentzer et al. 2023, section 3 and appendix A.1, as in vector-quantize-pytorch).

    >>> lattice = LatticeQuantizer(levels=(3, 3))
    >>> lattice.encode(torch.tensor([[-9.0, -9.0], [9.0, -9.0], [0.0, 9.0]])).flatten().tolist()
    [0, 2, 7]
    >>> lattice.decode(torch.tensor([[7]])).tolist()
    [[0.0, 1.0]]
    """

    def __init__(
        self,
        *,
        levels: tuple[int, ...],
        project_in: nn.Linear | TanhMlp | None = None,
        project_out: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        if not levels or min(levels) < 3:
            raise ConfigError(f"expected at least three values in each channel, received {levels}")
        self.levels = tuple(levels)
        self.sizes: Tensor
        self.radix: Tensor
        self.project_in = project_in
        self.project_out = project_out
        sizes = torch.tensor(levels)
        radix = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))])
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("radix", radix, persistent=False)

    @property
    def num_codes(self) -> int:
        """Points of the lattice."""
        return math.prod(self.levels)

    @property
    def num_levels(self) -> int:
        """One: a lattice has no residual levels here."""
        return 1

    @property
    def code_dim(self) -> int:
        """Channels."""
        return len(self.levels)

    def _quantize(self, features: Tensor, num_needed: int | None) -> Tensor:
        half = (self.sizes - 1) * (1 + 1e-3) / 2
        offset = torch.where(self.sizes % 2 == 0, 0.5, 0.0)
        bounded = (features.float() + (offset / half).atanh()).tanh() * half - offset
        steps = bounded.round().long() + self.sizes // 2
        return (steps * self.radix).sum(-1, keepdim=True)[:num_needed]

    def _restore(self, codes: Tensor) -> Tensor:
        if codes.numel() and not (0 <= int(codes.min()) and int(codes.max()) < self.num_codes):
            raise IdRangeError(
                f"expected codes in 0..{self.num_codes - 1}, received "
                f"{int(codes.min())}..{int(codes.max())}"
            )
        steps = codes.long() // self.radix % self.sizes
        half = self.sizes // 2
        return (steps - half).float() / half

"""A codebook: residual levels of centroids, and the nearest-code search in fp32.

Codes are local, 0 … K-1 within a level. Level 0 codes the features, level l codes what the levels
before it left over (residual vector quantization: Juang & Gray 1982; SoundStream, Zeghidour et al.
2021).
"""

from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from dvse.errors import BundleFormatError, ConfigError, IdRangeError
from dvse.nearest import nearest_codes

Metric = Literal["euclidean", "cosine"]


class Codebook:
    """Centroids `[num_levels, num_codes, dim]` (fp32) and a metric.

    With the `cosine` metric features and centroids are scaled to unit length first (ViT-VQGAN, Yu
    et al. 2022), so a decoded feature has length one per level.

    Raises:
        ConfigError: centroids of another rank, not finite, or an unknown metric.

    >>> book = Codebook(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))
    >>> book.encode(torch.tensor([[0.9, 1.2], [0.1, -0.2]])).tolist()
    [[1], [0]]
    >>> book.decode(torch.tensor([[1]])).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, centroids: Tensor, *, metric: Metric = "euclidean") -> None:
        if centroids.ndim != 3 or not all(centroids.shape):
            raise ConfigError(
                "expected centroids [num_levels, num_codes, dim], received shape "
                f"{list(centroids.shape)}"
            )
        if metric not in ("euclidean", "cosine"):
            raise ConfigError(f"expected metric 'euclidean' or 'cosine', received {metric!r}")
        if not torch.isfinite(centroids).all():
            raise ConfigError("expected finite centroids, received NaN or infinity; train again")
        centroids = centroids.detach().float().contiguous()
        self.metric: Metric = metric
        self.centroids = _unit_length(centroids) if metric == "cosine" else centroids

    @property
    def num_levels(self) -> int:
        """Number of residual levels."""
        return self.centroids.shape[0]

    @property
    def num_codes(self) -> int:
        """Number of codes in each level."""
        return self.centroids.shape[1]

    @property
    def dim(self) -> int:
        """Width of a feature."""
        return self.centroids.shape[2]

    def to(self, device: str | torch.device) -> "Codebook":
        """Return the codebook on another device."""
        return Codebook(self.centroids.to(device), metric=self.metric)

    def encode(self, features: Tensor) -> Tensor:
        """Return codes `int64 [N, num_levels]` of features `[N, dim]`.

        Ties go to the lower code.
        """
        residual = features.float()
        if self.metric == "cosine":
            residual = F.normalize(residual, dim=-1)
        codes = []
        for level in self.centroids:
            code = nearest_codes(residual, level)
            codes.append(code)
            if self.num_levels > 1:
                residual = residual - level[code]
        return torch.stack(codes, dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the features `fp32 [N, dim]` of codes `[N, num_levels]`: the sum over levels.

        Raises:
            ConfigError: another number of levels.
            IdRangeError: a code outside 0 … num_codes-1.
        """
        if codes.ndim < 1 or codes.shape[-1] != self.num_levels:
            raise ConfigError(
                f"expected codes [N, {self.num_levels}], received shape {list(codes.shape)}"
            )
        if codes.numel() and not (0 <= int(codes.min()) and int(codes.max()) < self.num_codes):
            raise IdRangeError(
                f"expected codes in 0..{self.num_codes - 1}, received "
                f"{int(codes.min())}..{int(codes.max())}"
            )
        levels = [level[codes[..., i]] for i, level in enumerate(self.centroids)]
        return torch.stack(levels).sum(0)

    def save(self, path: Path) -> None:
        """Write a safetensors file with the centroids and the metric."""
        tensors = {"centroids": self.centroids.cpu().contiguous()}
        path.write_bytes(save(tensors, metadata={"metric": self.metric}))

    @classmethod
    def load(cls, path: Path, *, device: str | torch.device = "cpu") -> "Codebook":
        """Read what `save` wrote.

        Raises:
            BundleFormatError: no safetensors file, or one that holds no proper centroids.
        """
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                return cls(
                    file.get_tensor("centroids"),
                    metric=(file.metadata() or {}).get("metric", "euclidean"),
                )
        except Exception as error:  # safetensors raises its own SafetensorError, an Exception
            raise BundleFormatError(f"{path.name}: expected a codebook file; {error}") from error


def _unit_length(centroids: Tensor) -> Tensor:
    """Scale to length one what is not of that length yet.

    Scaling again would move last bits, and a saved codebook would not be the loaded one.
    """
    lengths = centroids.norm(dim=-1, keepdim=True)
    return torch.where((lengths - 1).abs() < 1e-5, centroids, F.normalize(centroids, dim=-1))

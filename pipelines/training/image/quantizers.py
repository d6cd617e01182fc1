"""The quantizers that an image codebook can be trained with, each with the one that it becomes.

Training is vector-quantize-pytorch's: codebooks of moving averages compared by angle (`cosine`) or
distance (`ema`), both with dead codes revived and any number of residual levels; `simvq`, a frozen
codebook behind a trained linear map (Zhu et al. 2024); `fsq`, a lattice (Mentzer et al. 2023). What
a tokenizer keeps is `dvse.image.quantizer`'s. The two projections between the encoder's width and
that of codes are held here, so that all kinds share them. Quantization is fp32 even where the rest
of the network is trained in half precision.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvse.codebook import Codebook, Metric
from dvse.errors import ConfigError, MissingExtraError
from dvse.image.quantizer import CodebookQuantizer, ImageQuantizer, LatticeQuantizer
from pipelines.training.image.moving_codes import choose_by_index
from pipelines.training.image.settings import QuantizerConfig

_FEATURES_BEFORE = 4.0
_APART = 0.2  # of the spread of codes, between one and those added beside it


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """Features after quantization.

    Attributes:
        features: `fp32 [N, P, dim]`, with gradients to what went in.
        codes: `int64 [N, P, num_levels]`.
        commitment: scalar loss, zero outside training and for a lattice.
    """

    features: Tensor
    codes: Tensor
    commitment: Tensor


class TrainedQuantizer(nn.Module):
    """Features `[N, P, dim]` to `Quantized`; `export` gives what a tokenizer keeps."""

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        is_narrow = dim != config.code_dim
        self.project_in: nn.Module = nn.Linear(dim, config.code_dim) if is_narrow else nn.Identity()
        self.project_out: nn.Module = (
            nn.Linear(config.code_dim, dim) if is_narrow else nn.Identity()
        )

    @abstractmethod
    def _quantize(self, features: Tensor) -> Quantized:
        """Quantize features of `code_dim` channels."""

    @abstractmethod
    def _export(self, projections: dict[str, Any]) -> ImageQuantizer: ...

    @abstractmethod
    def _keep(self, quantizer: ImageQuantizer, *, is_moving: bool) -> None:
        """Take over the codes of a quantizer, to let them be or to go on from them."""

    def bounded(self, features: Tensor) -> Tensor:
        """Return features `[N, P, code_dim]` where codes may lie, before any is chosen."""
        return self.project_in(features)

    def unquantized(self, features: Tensor) -> Tensor:
        """Return features `[N, P, dim]` as they would be with endlessly many codes."""
        with torch.autocast(features.device.type, enabled=False):
            return self.project_out(self.bounded(features.float()))

    def forward(self, features: Tensor) -> Quantized:
        """Quantize `[N, P, dim]`."""
        with torch.autocast(features.device.type, enabled=False):
            found = self._quantize(self.bounded(features.float()))
            return Quantized(
                features=self.project_out(found.features),
                codes=found.codes,
                commitment=found.commitment,
            )

    @torch.no_grad()
    def keep(self, quantizer: ImageQuantizer, *, is_moving: bool = False) -> None:
        """Take a tokenizer's codes over; the projection to them may learn on.

        Args:
            quantizer: the tokenizer's.
            is_moving: whether codes go on moving instead of being as they are. There may be more
                of them then: an added code begins beside the one whose number it has in the
                rest of a division by their number before.

        Raises:
            ConfigError: another kind, number or width of codes.
        """
        ours = self.export()
        for name in ("num_codes", "num_levels", "code_dim"):
            here, there = getattr(ours, name), getattr(quantizer, name)
            may_differ = name == "num_codes" and is_moving and here > there
            if (here != there and not may_differ) or type(ours) is not type(quantizer):
                raise ConfigError(
                    f"expected the codes of the start: {type(quantizer).__name__} with {name} "
                    f"{getattr(quantizer, name)}, received {type(ours).__name__} with "
                    f"{getattr(ours, name)}; give the flags that it was trained with"
                )
        for name in ("project_in", "project_out"):
            if (layer := getattr(quantizer, name)) is not None:
                getattr(self, name).load_state_dict(layer.state_dict())
        self._keep(quantizer, is_moving=is_moving)

    @torch.no_grad()
    def export(self) -> ImageQuantizer:
        """Return the quantizer as a tokenizer uses it."""
        layers = {"project_in": self.project_in, "project_out": self.project_out}
        return self._export(
            {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
        )


class MovingAverageQuantizer(TrainedQuantizer):
    """`cosine` and `ema`: each centroid follows the features that it codes."""

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
        super().__init__(dim, config)
        self._kept: Codebook | None = None
        library = _library()
        options: dict[str, Any] = {
            "dim": config.code_dim,
            "codebook_size": config.num_codes,
            "use_cosine_sim": config.kind == "cosine",
            "decay": config.decay,
            "threshold_ema_dead_code": config.revive_below,
            "kmeans_init": True,
            "commitment_weight": 1.0,
        }
        if config.num_levels > 1:
            self.codes = library.ResidualVQ(num_quantizers=config.num_levels, **options)
        else:
            self.codes = library.VectorQuantize(**options)
        for level in self._levels:
            choose_by_index(level._codebook)

    def bounded(self, features: Tensor) -> Tensor:
        """Return features, on the unit sphere where codes are compared by angle."""
        narrow = self.project_in(features)
        return F.normalize(narrow, dim=-1) if self.config.kind == "cosine" else narrow

    def _quantize(self, features: Tensor) -> Quantized:
        if self._kept is not None:
            return self._choose(features, self._kept)
        features, codes, commitment = self.codes(features)
        codes = codes if self.config.num_levels > 1 else codes.unsqueeze(-1)
        return Quantized(features=features, codes=codes, commitment=commitment.sum())

    def _choose(self, features: Tensor, kept: Codebook) -> Quantized:
        """Choose among codes that stay; no moving averages, hence no one-hot of all codes."""
        flat = features.detach().flatten(0, 1)
        kept = self._kept = kept.to(features.device)
        codes = kept.encode(flat).unflatten(0, features.shape[:2])
        chosen = kept.decode(codes)
        commitment = F.mse_loss(features, chosen) if self.training else features.new_zeros(())
        return Quantized(
            features=features + (chosen - features).detach(), codes=codes, commitment=commitment
        )

    @property
    def _levels(self) -> list[Any]:
        return list(self.codes.layers) if self.config.num_levels > 1 else [self.codes]

    def _keep(self, quantizer: ImageQuantizer, *, is_moving: bool) -> None:
        assert isinstance(quantizer, CodebookQuantizer)
        for level, centroids in zip(self._levels, quantizer.codebook.centroids, strict=True):
            codebook = level._codebook
            centroids = self._with_added(centroids)
            codebook.embed.data.copy_(centroids[None])
            codebook.initted.fill_(True)
            # As if each had coded so many features on the average until now.
            codebook.cluster_size.data.fill_(_FEATURES_BEFORE)
            codebook.embed_avg.data.copy_(centroids[None] * _FEATURES_BEFORE)
        self._kept = None if is_moving else quantizer.codebook

    def _with_added(self, centroids: Tensor) -> Tensor:
        """Return as many centroids as are trained: an added one lies beside one that was there."""
        copies = centroids.repeat(-(-self.config.num_codes // len(centroids)), 1)
        copies = copies[: self.config.num_codes].clone()
        added = copies[len(centroids) :]
        spread = centroids.std(0, correction=0).mean()
        added += torch.randn(added.shape) * spread * _APART
        if self.config.kind == "cosine":
            added.copy_(F.normalize(added, dim=-1))
        return copies

    def _export(self, projections: dict[str, Any]) -> ImageQuantizer:
        centroids = torch.cat([level._codebook.embed.detach() for level in self._levels])
        metric: Metric = "cosine" if self.config.kind == "cosine" else "euclidean"
        return CodebookQuantizer(Codebook(centroids.cpu(), metric=metric), **projections)


class SimVQQuantizer(TrainedQuantizer):
    """A frozen random codebook, moved as a whole by a linear map that is trained."""

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
        super().__init__(dim, config)
        self.codes = _library().ResidualSimVQ(
            dim=config.code_dim,
            num_quantizers=config.num_levels,
            codebook_size=config.num_codes,
        )

    def _quantize(self, features: Tensor) -> Quantized:
        features, codes, commitment = self.codes(features)
        return Quantized(features=features, codes=codes, commitment=commitment.sum())

    def _keep(self, quantizer: ImageQuantizer, *, is_moving: bool) -> None:
        raise ConfigError(
            "codes of simvq move together and cannot be kept; start from another quantizer's"
        )

    def _export(self, projections: dict[str, Any]) -> ImageQuantizer:
        return CodebookQuantizer(Codebook(self.codes.codebooks.detach().cpu()), **projections)


class LatticeTraining(TrainedQuantizer):
    """`fsq`: each channel is rounded; nothing is learnt, no code can die for want of an update."""

    def __init__(self, dim: int, config: QuantizerConfig) -> None:
        super().__init__(dim, config)
        self.codes = _library().FSQ(levels=list(config.lattice))

    def unquantized(self, features: Tensor) -> Tensor:
        """Return features squashed as for rounding."""
        with torch.autocast(features.device.type, enabled=False):
            return self.project_out(self.project_in(features.float()).tanh())

    def _quantize(self, features: Tensor) -> Quantized:
        quantized, codes = self.codes(features)
        return Quantized(
            features=quantized,
            codes=codes.long().unsqueeze(-1),
            commitment=features.new_zeros(()),
        )

    def _keep(self, quantizer: ImageQuantizer, *, is_moving: bool) -> None:
        assert isinstance(quantizer, LatticeQuantizer)
        if quantizer.levels != self.config.lattice:
            raise ConfigError(
                f"expected the lattice of the start, {quantizer.levels}, received "
                f"{self.config.lattice}"
            )

    def _export(self, projections: dict[str, Any]) -> ImageQuantizer:
        return LatticeQuantizer(levels=self.config.lattice, **projections)


def make_quantizer(dim: int, config: QuantizerConfig) -> TrainedQuantizer:
    """Return the quantizer of a configuration for features of width `dim`.

    Raises:
        MissingExtraError: vector-quantize-pytorch is not installed.

    >>> quantizer = make_quantizer(8, QuantizerConfig(kind="fsq", lattice=(5, 5, 3)))
    >>> found = quantizer(torch.zeros(2, 6, 8))
    >>> found.codes.shape, quantizer.export().num_codes
    (torch.Size([2, 6, 1]), 75)
    """
    if config.kind == "fsq":
        return LatticeTraining(dim, config)
    if config.kind == "simvq":
        return SimVQQuantizer(dim, config)
    return MovingAverageQuantizer(dim, config)


def _library() -> Any:
    try:
        import vector_quantize_pytorch
    except ImportError as error:
        raise MissingExtraError.for_extra("vector-quantize-pytorch", "train") from error
    return vector_quantize_pytorch

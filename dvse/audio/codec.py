"""The neural codecs that transformers ships: Mimi, DAC and EnCodec, each as published.

    samples ─ encoder ─► features ─ residual codebooks ─► codes [frames, num_levels] ─► samples

Défossez et al. 2022 (EnCodec), Kumar et al. 2023 (DAC), Défossez et al. 2024 (Mimi). A frame of
`stride` samples has a code on each level; the last frame of a recording may be part silence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvse.audio.windows import FrameGrid
from dvse.errors import ConfigError

_MODELS = {"mimi": "Mimi", "dac": "Dac", "encodec": "Encodec"}
ARCHITECTURES = tuple(_MODELS)

_BLOCK_FRAMES = 256
"""Features are quantized so many at a time, filled up: a code must not depend on how many came."""


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Which codec, and how many of its levels are used.

    Attributes:
        architecture: `mimi`, `dac` or `encodec`.
        num_levels: residual levels, the first of those that it has.
        config: fields of its transformers configuration.
    """

    architecture: str
    num_levels: int
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in _MODELS or not isinstance(self.config, Mapping):
            raise ConfigError(
                f"expected a codec among {sorted(_MODELS)} and its config, received "
                f"{self.architecture!r}"
            )
        whole = isinstance(self.num_levels, int) and not isinstance(self.num_levels, bool)
        if not whole or self.num_levels < 1:
            raise ConfigError(f"expected num_levels of at least 1, received {self.num_levels!r}")

    def build(self) -> Any:
        """Return transformers' model with random weights.

        Raises:
            ConfigError: fields that transformers refuses.
        """
        config_class, model_class = classes(self.architecture)
        try:
            return model_class(config_class(**self.config))
        except Exception as error:  # transformers and torch refuse in many ways
            raise ConfigError(f"codec: {' '.join(str(error).split())[:300]}") from error


def classes(architecture: str) -> tuple[Any, Any]:
    """Return the configuration and the model class of transformers."""
    import transformers

    name = _MODELS[architecture]
    return getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}Model")


def _check_sizes(settings: Any) -> None:
    """Check what transformers takes as it comes and computes with later."""
    for name in ("sampling_rate", "codebook_size", "hidden_size"):
        value = getattr(settings, name, None)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"codec: expected a positive whole {name}, received {value!r}")


class Codec(nn.Module):
    """A codec of transformers behind three words: features, codes, samples.

    Args:
        config: what it is.
        model: of transformers, with its weights in it.

    Attributes:
        dim: width of a feature.
        num_codes: of each level.
        sample_rate_hz: of its samples, one channel.
        grid: how frames lie over samples.

    Raises:
        ConfigError: more levels than it has, or a codec of several channels or with a loudness
            beside its codes (EnCodec's of 48 kHz), which codes alone cannot bring back.
    """

    def __init__(self, config: CodecConfig, model: Any) -> None:
        super().__init__()
        self.config, self.model = config, model.eval().requires_grad_(False)
        settings = model.config
        if getattr(settings, "audio_channels", 1) != 1 or getattr(settings, "normalize", False):
            raise ConfigError(
                "expected a codec of one channel whose codes say all, received one of two channels "
                "or with a scale beside its codes; take the one of 24 kHz"
            )
        _check_sizes(settings)
        names = {"mimi": "num_quantizers", "dac": "n_codebooks", "encodec": "num_quantizers"}
        available = getattr(settings, names[config.architecture])
        fewest = getattr(settings, "num_semantic_quantizers", 1)
        if not fewest <= config.num_levels <= available:
            raise ConfigError(
                f"expected num_levels of {fewest}..{available}, those of the codec, received "
                f"{config.num_levels}"
            )
        self.num_codes: int = settings.codebook_size
        self.sample_rate_hz: int = settings.sampling_rate
        self.dim: int = settings.hidden_size
        if config.architecture == "mimi":
            stride = round(self.sample_rate_hz / settings.frame_rate)
        elif config.architecture == "dac":
            stride = math.prod(settings.downsampling_ratios)
        else:
            stride = settings.hop_length
        self.grid = FrameGrid(stride=stride, reach=1)

    def forward(self, samples: Tensor) -> Tensor:
        """Return features fp32 `[B, frames, dim]` of samples fp32 `[B, n]`."""
        one_channel = samples[:, None]
        if self.config.architecture == "mimi":
            features = self.model.encoder(one_channel).latents
        elif self.config.architecture == "dac":
            # Its feature extractor fills the last frame up with silence; the others do it inside.
            missing = -samples.shape[-1] % self.grid.stride
            features = self.model.encoder(F.pad(one_channel, (0, missing)))
        else:
            features = self.model.encoder(one_channel)
        return features.transpose(1, 2)

    def encode(self, features: Tensor) -> Tensor:
        """Return codes `int64 [N, num_levels]` of features `[N, dim]`."""
        found = []
        for start in range(0, len(features), _BLOCK_FRAMES):
            block = features[start : start + _BLOCK_FRAMES]
            filled = F.pad(block, (0, 0, 0, _BLOCK_FRAMES - len(block)))
            found.append(self._codes(filled.T[None])[: len(block)])
        empty = torch.zeros(0, self.config.num_levels, dtype=torch.int64, device=features.device)
        return torch.cat([empty, *found])

    def decode(self, codes: Tensor) -> Tensor:
        """Return samples fp32 of codes `int64 [frames, num_levels]`.

        `frames * stride` of them; a few less from a DAC with an odd stride, whose layers lose some.
        """
        levels = codes.T[None]
        if self.config.architecture == "encodec":
            found = self.model.decode(levels[None], [None]).audio_values
        else:
            found = self.model.decode(audio_codes=levels).audio_values
        return found.reshape(-1)[: len(codes) * self.grid.stride]

    def _codes(self, features: Tensor) -> Tensor:
        """Codes `[N, num_levels]` of features `[1, dim, N]`."""
        quantizer, num_levels = self.model.quantizer, self.config.num_levels
        if self.config.architecture == "mimi":
            return quantizer.encode(features, num_levels)[:, 0].T
        if self.config.architecture == "dac":
            return quantizer(features, num_levels)[1][0].T
        codes = []
        for layer in quantizer.layers[:num_levels]:  # its own `encode` counts in bits a second
            codes.append(layer.encode(features))
            features = features - layer.decode(codes[-1])
        return torch.cat(codes).T

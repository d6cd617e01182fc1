"""The neural codecs that transformers ships: Mimi, DAC and EnCodec, each as published.

    samples ─ encoder ─► features ─ residual codebooks ─► codes [frames, num_levels] ─► samples

Défossez et al. 2022 (EnCodec), Kumar et al. 2023 (DAC), Défossez et al. 2024 (Mimi). A frame of
`stride` samples has a code on each level; the last frame of a recording may be part silence.

EnCodec of 48 kHz hears two channels, a second at a time, each stretch scaled to one power. The
factors, which its authors store as floats beside the codes, can be a level of their own here: the
last one, whose code is the same in all frames of a stretch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvse.audio.loudness import loudness_codes, loudness_db, scales_of
from dvse.audio.windows import FrameGrid
from dvse.errors import ConfigError

_MODELS = {"mimi": "Mimi", "dac": "Dac", "encodec": "Encodec"}
ARCHITECTURES = tuple(_MODELS)

_LEAST_SCALE = 1e-8
"""EnCodec's floor under the power of a stretch."""
_BLOCK_FRAMES = 256
"""Features are quantized so many at a time, filled up: a code must not depend on how many came."""


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Which codec, and how many of its levels are used.

    Attributes:
        architecture: `mimi`, `dac` or `encodec`.
        num_levels: residual levels, the first of those that it has.
        config: fields of its transformers configuration.
        keep_loudness: one more level says the power that a stretch had before it was scaled;
            without it every stretch comes back with a power of 1.
    """

    architecture: str
    num_levels: int
    config: Mapping[str, Any] = field(default_factory=dict)
    keep_loudness: bool = False

    def __post_init__(self) -> None:
        if self.architecture not in _MODELS or not isinstance(self.config, Mapping):
            raise ConfigError(
                f"expected a codec among {sorted(_MODELS)} and its config, received "
                f"{self.architecture!r}"
            )
        whole = isinstance(self.num_levels, int) and not isinstance(self.num_levels, bool)
        if not whole or self.num_levels < 1:
            raise ConfigError(f"expected num_levels of at least 1, received {self.num_levels!r}")
        if not isinstance(self.keep_loudness, bool):
            raise ConfigError(
                f"expected keep_loudness true or false, received {self.keep_loudness!r}"
            )

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


def _chunk(settings: Any) -> tuple[int, int] | None:
    size, hop = settings.chunk_length, settings.chunk_stride
    if size is None:
        return None
    if hop is None or not 1 <= hop <= size:
        raise ConfigError(
            f"codec: expected stretches with an overlap of 0 to 1, received chunk_length_s "
            f"{settings.chunk_length_s!r} and overlap {settings.overlap!r}"
        )
    return size, hop


class Codec(nn.Module):
    """A codec of transformers behind three words: features, codes, samples.

    Args:
        config: what it is.
        model: of transformers, with its weights in it.

    Attributes:
        dim: width of a feature.
        num_codes: of each level.
        num_levels: residual levels, and the loudness where it is kept.
        sample_rate_hz, num_channels: of its samples.
        grid: how frames lie over samples.
        chunk: samples of a stretch and from one to the next where the codec has stretches of its
            own, else `None`.

    Raises:
        ConfigError: more levels than it has, more than two channels, stretches that say no overlap,
            or a loudness of a codec that scales nothing.
    """

    def __init__(self, config: CodecConfig, model: Any) -> None:
        super().__init__()
        self.config, self.model = config, model.eval().requires_grad_(False)
        settings = model.config
        _check_sizes(settings)
        is_encodec = config.architecture == "encodec"
        self.num_channels: int = getattr(settings, "audio_channels", 1)
        self.scales: bool = is_encodec and bool(settings.normalize)
        if self.num_channels not in ((1, 2) if is_encodec else (1,)):
            raise ConfigError(
                f"expected a codec of one channel, or an EnCodec of two, received "
                f"{self.num_channels} channels"
            )
        if config.keep_loudness and not self.scales:
            raise ConfigError("this codec scales nothing, so it has no loudness to keep")
        self.chunk = _chunk(settings) if is_encodec else None
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
        self.num_levels = config.num_levels + config.keep_loudness
        self.dim: int = settings.hidden_size + config.keep_loudness
        if config.architecture == "mimi":
            stride = round(self.sample_rate_hz / settings.frame_rate)
        elif config.architecture == "dac":
            stride = math.prod(settings.downsampling_ratios)
        else:
            stride = settings.hop_length
        self.grid = FrameGrid(stride=stride, reach=1)

    def forward(self, samples: Tensor) -> Tensor:
        """Return features fp32 `[B, frames, dim]` of samples fp32 `[B, n]` or `[B, n, 2]`.

        The last channel is the loudness in decibels where that is kept.
        """
        channels = samples[:, None] if self.num_channels == 1 else samples.transpose(1, 2)
        if self.config.architecture == "mimi":
            features = self.model.encoder(channels).latents
        elif self.config.architecture == "dac":
            # Its feature extractor fills the last frame up with silence; the others do it inside.
            missing = -samples.shape[-1] % self.grid.stride
            features = self.model.encoder(F.pad(channels, (0, missing)))
        else:
            features, scale = self._encodec(channels)
            if self.config.keep_loudness:
                loudness = loudness_db(scale).expand(-1, -1, features.shape[-1])
                features = torch.cat([features, loudness], dim=1)
        return features.transpose(1, 2)

    def _encodec(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features `[B, hidden, frames]`, and the factors `[B, 1, 1]`, 1 without scaling."""
        scale = torch.ones_like(channels[:, :1, :1])
        if self.scales:
            mono = channels.sum(1, keepdim=True) / channels.shape[1]
            scale = mono.pow(2).mean(dim=-1, keepdim=True).sqrt() + _LEAST_SCALE
            channels = channels / scale
        return self.model.encoder(channels), scale

    def encode(self, features: Tensor) -> Tensor:
        """Return codes `int64 [N, num_levels]` of features `[N, dim]`."""
        found = []
        loudness = features[:, -1]
        if self.config.keep_loudness:
            features = features[:, :-1]
        for start in range(0, len(features), _BLOCK_FRAMES):
            block = features[start : start + _BLOCK_FRAMES]
            filled = F.pad(block, (0, 0, 0, _BLOCK_FRAMES - len(block)))
            found.append(self._codes(filled.T[None])[: len(block)])
        empty = torch.zeros(0, self.config.num_levels, dtype=torch.int64, device=features.device)
        codes = torch.cat([empty, *found])
        if self.config.keep_loudness:
            codes = torch.cat([codes, loudness_codes(loudness, self.num_codes)[:, None]], dim=1)
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Return samples fp32 `[n]`, or `[n, 2]`, of codes `int64 [frames, num_levels]`.

        `frames * stride` of them; a few less from a DAC with an odd stride, whose layers lose some,
        and as many less as stretches overlap, which are faded into one another. Of the codes that
        say the loudness of a stretch the first counts.
        """
        if self.config.architecture == "encodec":
            found = self._decode_encodec(codes)
        else:
            found = self.model.decode(audio_codes=codes.T[None]).audio_values
        found = found.reshape(self.num_channels, -1)[:, : len(codes) * self.grid.stride]
        return found[0] if self.num_channels == 1 else found.T

    def _decode_encodec(self, codes: Tensor) -> Tensor:
        """Transformers' way back: stretches of equally many frames, the last one filled up."""
        size = len(codes) if self.chunk is None else self.grid.num_frames(self.chunk[0])
        missing = -len(codes) % size
        frames = F.pad(codes, (0, 0, 0, missing)).reshape(-1, size, self.num_levels)
        scales: list[Tensor | None] = [None] * len(frames)
        if self.config.keep_loudness:
            scales = list(scales_of(frames[:, 0, -1:], self.num_codes))
            frames = frames[..., :-1]
        stacked = frames.transpose(1, 2)[:, None]
        return self.model.decode(stacked, scales, last_frame_pad_length=missing).audio_values

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

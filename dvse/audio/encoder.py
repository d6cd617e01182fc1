"""Speech encoders of the Wav2Vec2 family, cut off after one hidden layer.

Wav2Vec2, HuBERT and WavLM through transformers, in their group-norm and layer-norm variants. The
layers above the one that is asked for are thrown away, so they cost neither time nor memory.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from dvse.audio.published_encoder import (
    ARCHITECTURES,
    classes,
    published_config,
    published_model,
    recorded_normalization,
)
from dvse.audio.wav2vec2 import Wav2Vec2Encoder, Wav2Vec2Sizes
from dvse.audio.windows import FrameGrid
from dvse.errors import ConfigError
from dvse.precision import computing_dtype

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NormalizeOver: TypeAlias = Literal["window", "recording"]

_WITHOUT_TRANSFORMERS = ("wav2vec2", "hubert")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """What an encoder is, without its weights.

    Attributes:
        architecture: `wav2vec2`, `hubert` or `wavlm`.
        layer: 0 … num_hidden_layers, as in transformers' `hidden_states[layer]`: 0 is what enters
            the first layer, the highest is `last_hidden_state`.
        normalize: scale samples to mean 0 and variance 1 first (`do_normalize` of the published
            feature extractors).
        normalize_over: `window`, each for itself; or `recording`, the whole of it before it is cut,
            as published extractors do (`dvse.audio.scaling`). Only long recordings differ.
        config: fields of the transformers config that differ from its defaults.
        variance_floor: added to the variance when normalising: 1e-7 in transformers' feature
            extractors, 1e-5 in fairseq (torch's `layer_norm`).
        final_norm: whether the last layer of a pre-norm encoder passes its final norm. It does in
            transformers; fairseq leaves it out where a layer is named, also the last.
    """

    architecture: str
    layer: int
    normalize: bool
    config: Mapping[str, Any] = field(default_factory=dict)
    variance_floor: float = 1e-7
    final_norm: bool = True
    normalize_over: NormalizeOver = "window"

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(
                f"expected an architecture among {sorted(ARCHITECTURES)}, received "
                f"{self.architecture!r}"
            )
        if isinstance(self.layer, bool) or not isinstance(self.layer, int):
            raise ConfigError(f"expected a whole number as layer, received {self.layer!r}")
        if not isinstance(self.normalize, bool) or not isinstance(self.config, Mapping):
            raise ConfigError("expected normalize as true or false and config as an object")
        if not isinstance(self.final_norm, bool) or not 0 < self.variance_floor < 1:
            raise ConfigError(
                f"expected final_norm as true or false and a variance_floor in 0..1, received "
                f"{self.final_norm!r} and {self.variance_floor!r}"
            )
        if self.normalize_over not in get_args(NormalizeOver):
            raise ConfigError(
                f"expected normalize_over as {' or '.join(get_args(NormalizeOver))}, received "
                f"{self.normalize_over!r}"
            )
        if self.normalize_over == "recording" and not self.normalize:
            raise ConfigError("normalize_over recording needs normalize; nothing is scaled without")

    def build_frozen(self) -> "PreTrainedModel | Wav2Vec2Encoder":
        """Return a model for weights that are read next, and only to run; without transformers.

        Features are those of what `build` returns, which stands in for architectures that only
        transformers has.

        Raises:
            ConfigError: as `build`.
        """
        sizes = None
        if self.architecture in _WITHOUT_TRANSFORMERS:
            sizes = Wav2Vec2Sizes.of(self.config)
        if sizes is None or not 0 <= self.layer <= sizes.num_hidden_layers:
            return self.build()
        is_last = self.layer == sizes.num_hidden_layers
        return Wav2Vec2Encoder(
            sizes, num_layers=self.layer, has_last_norm=is_last and self.final_norm
        )

    def build(self) -> "PreTrainedModel":
        """Return the cut-off model with random weights.

        Raises:
            ConfigError: a layer that it does not have, or fields that transformers refuses.
        """
        config_class, model_class = classes(self.architecture)
        try:
            config = config_class(**self.config)
            # Layers above the cut are never built.
            depth = config.num_hidden_layers
            _check_layer(self.layer, depth)
            config.num_hidden_layers = self.layer
            model = model_class(config)
            config.num_hidden_layers = depth
        except ConfigError:
            raise
        except Exception as error:  # transformers and torch refuse in many ways
            raise ConfigError(f"encoder: {' '.join(str(error).split())[:300]}") from error
        return _cut(model, self.layer, depth, final_norm=self.final_norm)


class AudioEncoder(nn.Module):
    """Samples → features of one hidden layer.

    Args:
        config: what it is.
        model: a model that `config.build()` or `build_frozen()` made, with its weights in it.

    >>> sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    ...          "intermediate_size": 8, "num_conv_pos_embedding_groups": 2}
    >>> config = EncoderConfig(architecture="hubert", layer=1, normalize=True, config=sizes)
    >>> AudioEncoder(config, config.build())(torch.zeros(1, 16_000)).shape
    torch.Size([1, 49, 8])
    """

    num_channels = 1

    def __init__(self, config: EncoderConfig, model: "PreTrainedModel | Wav2Vec2Encoder") -> None:
        super().__init__()
        self.config = config
        self.model: Any = model.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        layer: int,
        revision: str | None = None,
        normalize: bool | None = None,
        variance_floor: float = 1e-7,
        final_norm: bool = True,
        normalize_over: NormalizeOver = "window",
    ) -> "AudioEncoder":
        """Load a published encoder from a directory of transformers or by its Hub name.

        Whether to normalise comes from its `preprocessor_config.json` (no such file: no), unless it
        is said; for the others see `EncoderConfig`. An encoder that does not normalise ignores what
        it would do it over.

        Raises:
            BundleNotFoundError: it is not there and cannot be fetched.
            WeightsFormatError: damaged, not whole, or not finite; or a pickle of other things.
            ConfigError: of another family, or without such a layer.
        """
        name = str(source)
        config = published_config(name, revision)
        try:
            _check_layer(layer, config.num_hidden_layers)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
        model = published_model(name, config, revision)
        if normalize is None:
            normalize = bool(recorded_normalization(name, revision))
        return cls.of(
            model,
            layer=layer,
            normalize=normalize,
            variance_floor=variance_floor,
            final_norm=final_norm,
            normalize_over=normalize_over if normalize else "window",
        )

    @classmethod
    def of(
        cls,
        model: "PreTrainedModel",
        *,
        layer: int,
        normalize: bool,
        variance_floor: float = 1e-7,
        final_norm: bool = True,
        normalize_over: NormalizeOver = "window",
    ) -> "AudioEncoder":
        """Wrap a model of transformers, which is cut off in place.

        Raises:
            ConfigError: of another family, or without such a layer.
        """
        fields = json.loads(json.dumps(model.config.to_diff_dict()))
        for name in ("model_type", "architectures", "dtype", "transformers_version"):
            fields.pop(name, None)
        config = EncoderConfig(
            architecture=model.config.model_type,
            layer=layer,
            normalize=normalize,
            config=fields,
            variance_floor=variance_floor,
            final_norm=final_norm,
            normalize_over=normalize_over,
        )
        depth = model.config.num_hidden_layers
        return cls(config, _cut(model, layer, depth, final_norm=final_norm))

    @property
    def dim(self) -> int:
        """Width of a feature."""
        return self.model.config.hidden_size

    @property
    def grid(self) -> FrameGrid:
        """How frames lie over samples."""
        return FrameGrid.of(self.model.config.conv_kernel, self.model.config.conv_stride)

    def forward(self, samples: Tensor) -> Tensor:
        """Return features fp32 `[B, frames, dim]` of samples fp32 `[B, n]`, no padding in them.

        What is scaled as a whole recording comes scaled, see `dvse.audio.preparer`.
        """
        if self.config.normalize and self.config.normalize_over == "window":
            variance, mean = torch.var_mean(samples, dim=-1, correction=0, keepdim=True)
            samples = (samples - mean) / torch.sqrt(variance + self.config.variance_floor)
        return self.model(samples.to(computing_dtype(self.model))).last_hidden_state.float()


def _check_layer(layer: int, depth: int) -> None:
    if not 0 <= layer <= depth:
        raise ConfigError(f"expected a layer of 0..{depth}, received {layer}")


def _cut(model: Any, layer: int, depth: int, *, final_norm: bool) -> Any:
    _check_layer(layer, depth)
    encoder = model.encoder
    encoder.layers = encoder.layers[:layer]
    if (layer < depth or not final_norm) and model.config.do_stable_layer_norm:
        # Pre-norm encoders normalise once more at the very end; hidden states in between are not.
        encoder.layer_norm = nn.Identity()
    # Only training masks features; the vector has no part in encoding and is often not published.
    model.masked_spec_embed = None
    return model

"""The audio tokenizer: encoder, codebook and windows, put together.

Every forward pass has a shape that the chunk alone decides. A recording shorter than a window is
encoded at its exact length, one row at a time; full windows run in batches whose number of rows
is fixed by the kind of device or a chosen token budget, the last batch filled up with zeros. So
neither padding nor neighbours ever reach a code.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dvse.audio.codec import Codec
from dvse.audio.encoder import AudioEncoder, EncoderConfig
from dvse.audio.hub_weights import HubWeights
from dvse.audio.plan import Plan, read_plan
from dvse.audio.preparer import AudioPreparer
from dvse.audio.recording_tokenizer import RecordingTokenizer
from dvse.chunk import Chunk
from dvse.codebook import Codebook
from dvse.errors import BundleFormatError, ConfigError
from dvse.fixed_batches import fixed_batches
from dvse.in_flight import in_flight
from dvse.media_tokenizer import NO_CODEBOOK
from dvse.numerics import exact_convolutions
from dvse.precision import Precision, cast_weights, refuse_cast_weights, refuse_overflow
from dvse.storage.spec_fields import read_fields, write_fields
from dvse.storage.weights import read_module, write_module
from dvse.token_budget import rows_within

# Frames of a batch of full windows. A processor is busy with one long one; a GPU is not. Of both,
# rows are a power of two: see `rows_within`.
_BATCH_FRAMES = {"cpu": 256, "cuda": 12_000}

_ENCODER_FILE = "encoder.safetensors"
_CODEBOOK_FILE = "codebook.safetensors"
_SPEC_FIELDS = {
    "sample_rate_hz",
    "max_duration_s",
    "merge_repeats",
    "windows",
    "encoder",
    "weights",
}
_LATER_FIELDS = {"pad_samples"}  # written only where they are set
_LATER_ENCODER_FIELDS = ("variance_floor", "final_norm", "normalize_over")


class AudioTokenizer(RecordingTokenizer):
    """Recordings → codes `[frames, num_levels]`.

    Args:
        encoder, codebook: features of a frame, and codes of features; a draft has no codebook.
        sample_rate_hz: the rate that the encoder was trained on.
        windowing: how long recordings are cut.
        merge_repeats: a run of equal codes becomes one unit with its duration.
        max_duration_s: longer recordings are refused.
        pad_samples: zeros before and after a recording, at the encoder's rate.
        hub_weights: where the encoder's weights come from, if they are not saved with it.
        device: where it computes.
        precision: what the encoder computes in; its weights are cast in place.

    Raises:
        ConfigError: widths that do not fit together, or a setting outside its range.
    """

    def __init__(
        self,
        *,
        encoder: AudioEncoder | Codec,
        codebook: Codebook | None,
        sample_rate_hz: int,
        windowing: Plan,
        merge_repeats: bool = False,
        max_duration_s: float = 86_400.0,
        pad_samples: int = 0,
        hub_weights: HubWeights | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        if codebook is not None and codebook.dim != encoder.dim:
            raise ConfigError(
                f"the encoder gives {encoder.dim} channels, the codebook takes {codebook.dim}"
            )
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.encoder: Any = encoder.to(self.device)
        cast_weights(self.encoder, precision)
        self.codebook = None if codebook is None else codebook.to(self.device)
        self.num_codes = 0 if codebook is None else codebook.num_codes
        self.num_levels = 0 if codebook is None else codebook.num_levels
        self.merge_repeats = merge_repeats
        self.hub_weights = hub_weights
        self._preparer = AudioPreparer(
            sample_rate_hz=sample_rate_hz,
            grid=encoder.grid,
            windowing=windowing,
            max_duration_s=max_duration_s,
            num_channels=encoder.num_channels,
            pad_samples=pad_samples,
            scale_floor=_scale_floor(encoder.config),
        )

    def embed(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return features `fp32 [kept frames, dim]` of each chunk, before they are quantized."""
        return self._map_batches(chunks, lambda features: features)

    def quantize(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return codes `int32 [frames, num_levels]` of features `fp32 [frames, dim]` each.

        Raises:
            ConfigError: a draft.
        """
        if not features:
            return []
        with torch.inference_mode():
            rows = torch.from_numpy(np.concatenate(features)).to(self.device)
            codes = self._codes(rows).cpu().numpy()
        return np.split(codes, np.cumsum([len(one) for one in features])[:-1])

    def encode(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return codes `int32 [kept frames, num_levels]` of each chunk, in order.

        Raises:
            ConfigError: a draft.
        """

        def codes(features: Tensor) -> Tensor:  # they stay on the device
            found = self._codes(features.flatten(0, 1))
            return found.reshape(len(features), -1, self.num_levels)

        return self._map_batches(chunks, codes)

    def with_codebook(self, codebook: Codebook) -> "AudioTokenizer":
        """Return a tokenizer with another codebook, all else as it is; a draft gets its first."""
        return self._with(codebook, self._preparer.windowing)

    def with_windowing(self, windowing: Plan) -> "AudioTokenizer":
        """Return a tokenizer that cuts long recordings another way, all else as it is."""
        return self._with(self.codebook, windowing)

    def in_precision(self, precision: Precision) -> "AudioTokenizer":
        """Return a tokenizer with a copy of the encoder that computes in another precision."""
        if precision == self.precision:
            return self
        copied = copy.deepcopy(self)
        copied.precision = precision
        cast_weights(copied.encoder, precision)
        return copied

    def _with(self, codebook: Codebook | None, windowing: Plan) -> "AudioTokenizer":
        return AudioTokenizer(
            encoder=self.encoder,
            codebook=codebook,
            sample_rate_hz=self.sample_rate_hz,
            windowing=windowing,
            merge_repeats=self.merge_repeats,
            max_duration_s=self._preparer.max_duration_s,
            pad_samples=self._preparer.pad_samples,
            hub_weights=self.hub_weights,
            device=str(self.device),
            precision=self.precision,
        ).with_batch_tokens(self.batch_tokens)

    @property
    def default_batch_tokens(self) -> int:
        """The most frames of a forward pass where nobody chose `batch_tokens`."""
        return _BATCH_FRAMES[self.device.type]

    def _rows(self, num_tokens: int) -> int:
        return rows_within(self.batch_tokens or self.default_batch_tokens, num_tokens)

    def _codes(self, features: Tensor) -> Tensor:
        if self.codebook is None:
            raise ConfigError(NO_CODEBOOK)
        return self.codebook.encode(features).int()

    def _map_batches(
        self, chunks: Sequence[Chunk], function: Callable[[Tensor], Tensor]
    ) -> list[np.ndarray]:
        def compute(samples: Tensor) -> tuple[Tensor, Tensor]:
            features = self.encoder(samples)
            return function(features), features.isfinite().flatten(1).all(1)

        results: list[np.ndarray | None] = [None] * len(chunks)
        with torch.inference_mode(), exact_convolutions(self.precision):
            done = in_flight(self._batches(chunks), compute, self.device)
            for positions, (found, is_finite) in done:
                refuse_overflow(is_finite[: len(positions)], self.precision)
                values = found.numpy()
                for row, position in enumerate(positions):
                    start, stop = chunks[position].keep or (0, values.shape[1])
                    results[position] = values[row, start:stop].copy()
        return results  # type: ignore[return-value]  # every position has been filled

    def _batches(self, chunks: Sequence[Chunk]) -> Iterator[tuple[list[int], Tensor]]:
        shapes = (chunk.shape for chunk in chunks)
        for shape, positions in fixed_batches(shapes, self.batch_rows):
            samples = torch.zeros(shape)
            for row, position in enumerate(positions):
                samples[row] = torch.from_numpy(chunks[position].data)
            yield positions, samples

    def spec(self) -> dict[str, Any]:
        """Return the JSON description from which `from_spec` makes this tokenizer again."""
        pad_samples = self._preparer.pad_samples
        return {
            "sample_rate_hz": self.sample_rate_hz,
            "max_duration_s": self._preparer.max_duration_s,
            "merge_repeats": self.merge_repeats,
            "windows": write_fields(self._preparer.windowing),
            "encoder": write_fields(self.encoder.config, omit=_LATER_ENCODER_FIELDS),
            "weights": None if self.hub_weights is None else write_fields(self.hub_weights),
            **({"pad_samples": pad_samples} if pad_samples else {}),
        }

    def save_files(self, folder: Path) -> None:
        """Write the safetensors files that `from_spec` reads.

        Raises:
            ConfigError: a draft, or weights that were cast.
        """
        if self.codebook is None:
            raise ConfigError(NO_CODEBOOK)
        refuse_cast_weights(self.precision)
        folder.mkdir(parents=True, exist_ok=True)
        if self.hub_weights is None:
            write_module(self.encoder.model, folder / _ENCODER_FILE)
        self.codebook.save(folder / _CODEBOOK_FILE)

    @classmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        folder: Path,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> Self:
        """Load what `spec` and `save_files` left.

        Raises:
            BundleFormatError: a missing, unknown or ill-typed field, or files that do not fit.
            BundleIntegrityError: weights from the Hub that are not those of the bundle.
        """
        if not isinstance(spec, Mapping) or set(spec) - _LATER_FIELDS != _SPEC_FIELDS:
            found = sorted(spec) if isinstance(spec, Mapping) else type(spec).__name__
            raise BundleFormatError(
                f"audio: expected fields {sorted(_SPEC_FIELDS)}, received {found}"
            )
        config = read_fields(EncoderConfig, spec["encoder"], where="audio encoder")
        hub_weights = None
        if spec["weights"] is not None:
            hub_weights = read_fields(HubWeights, spec["weights"], where="audio weights")
        try:
            return cls(
                encoder=_load_encoder(config, hub_weights, folder),
                codebook=Codebook.load(folder / _CODEBOOK_FILE),
                sample_rate_hz=_number(spec, "sample_rate_hz", int),
                max_duration_s=_number(spec, "max_duration_s", float),
                windowing=read_plan(spec["windows"]),
                pad_samples=_number(spec, "pad_samples", int) if "pad_samples" in spec else 0,
                merge_repeats=_number(spec, "merge_repeats", bool),
                hub_weights=hub_weights,
                device=device,
                precision=precision,
            )
        except ConfigError as error:
            raise BundleFormatError(f"audio: {error}") from error


def _scale_floor(config: Any) -> float | None:
    if isinstance(config, EncoderConfig) and config.normalize:
        return config.variance_floor if config.normalize_over == "recording" else None
    return None


def _load_encoder(
    config: EncoderConfig, hub_weights: HubWeights | None, folder: Path
) -> AudioEncoder:
    if hub_weights is None:
        encoder = AudioEncoder(config, config.build_frozen())
        read_module(encoder.model, folder / _ENCODER_FILE)
        return encoder
    encoder = AudioEncoder.from_pretrained(
        hub_weights.repo,
        layer=config.layer,
        revision=hub_weights.revision,
        final_norm=config.final_norm,
    )
    hub_weights.check(encoder.model)
    return AudioEncoder(config, encoder.model)


def _number(spec: Mapping[str, Any], name: str, kind: type) -> Any:
    value = spec[name]
    allowed = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, allowed):
        raise BundleFormatError(f"audio: expected {kind.__name__} as {name}, received {value!r}")
    return value

"""The audio tokenizer around a neural codec: recordings to codes of several levels, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dvse.audio.codec import Codec, CodecConfig
from dvse.audio.overlapping_chunks import OverlappingChunks
from dvse.audio.plan import Plan, read_plan
from dvse.audio.sample_chunks import SampleChunks
from dvse.audio.tokenizer import AudioTokenizer
from dvse.codebook import Codebook
from dvse.errors import BundleFormatError, ConfigError, IdRangeError
from dvse.numerics import exact_convolutions
from dvse.precision import Precision
from dvse.storage.spec_fields import read_fields, write_fields
from dvse.storage.weights import read_module, write_module

_FILE = "codec.safetensors"
_MOST_SAMPLES = 1 << 23  # transformers counts frames in fp32
_SPEC_FIELDS = {"kind", "max_duration_s", "windows", "codec"}


class CodecTokenizer(AudioTokenizer):
    """Recordings ↔ codes `[frames, num_levels]` of a codec.

    Args:
        codec: with its weights.
        windowing: a recording of at most one stretch is encoded whole, as the published code does;
            a longer one is cut, without overlap, so that no frame is lost. A codec with stretches
            of its own has those.
        max_duration_s: longer recordings are refused.

    Raises:
        ConfigError: stretches that are no whole number of frames, or not the codec's own.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        windowing: Plan,
        max_duration_s: float = 86_400.0,
        device: str = "cpu",
    ) -> None:
        _check_windows(codec, windowing)
        super().__init__(
            encoder=codec,
            codebook=None,
            sample_rate_hz=codec.sample_rate_hz,
            windowing=windowing,
            max_duration_s=max_duration_s,
            device=device,
        )
        self.codec = codec
        self.decoder = codec
        self.num_codes, self.num_levels = codec.num_codes, codec.num_levels

    @property
    def frame_rate_hz(self) -> float:
        """Codes a second; where stretches overlap, those of a full one over what it moves on."""
        windowing = self._preparer.windowing
        if not isinstance(windowing, OverlappingChunks):
            return super().frame_rate_hz
        frames = windowing.full_frames(self._preparer.grid)
        return frames * self.sample_rate_hz / windowing.hop_samples

    def decode(self, codes: np.ndarray, grid: tuple[int, int] | None = None) -> np.ndarray:
        """Return samples `float32 [n]`, or `[n, 2]`, of the codes of one recording.

        See `Codec.decode`.

        Args:
            codes: `[frames, num_levels]`.
            grid: of no meaning here.

        Raises:
            IdRangeError: a code outside a codebook, or another number of levels.
        """
        array = np.asarray(codes)
        if array.ndim != 2 or array.shape[1] != self.num_levels or not array.size:
            raise IdRangeError(
                f"expected codes [frames, {self.num_levels}], received {list(array.shape)}"
            )
        if not (0 <= array.min() and array.max() < self.num_codes):
            raise IdRangeError(
                f"expected codes in 0..{self.num_codes - 1}, received {array.min()}..{array.max()}"
            )
        with torch.inference_mode(), exact_convolutions():
            levels = torch.from_numpy(array.astype(np.int64)).to(self.device)
            return self.codec.decode(levels).cpu().numpy()

    def with_codebook(self, codebook: Codebook) -> AudioTokenizer:
        """Refuse: a codec has codebooks of its own.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("a codec brings its own codebooks; others cannot take their place")

    def spec(self) -> dict[str, Any]:
        """Return the JSON description from which `from_spec` makes this tokenizer again."""
        return {
            "kind": "codec",
            "max_duration_s": self._preparer.max_duration_s,
            "windows": write_fields(self._preparer.windowing),
            "codec": write_fields(self.codec.config, omit=("keep_loudness",)),
        }

    def save_files(self, folder: Path) -> None:
        """Write the safetensors file that `from_spec` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        write_module(self.codec.model, folder / _FILE)

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
            ConfigError: another precision than fp32, in which its codebooks are compared.
            BundleFormatError: a missing, unknown or ill-typed field, or files that do not fit.
        """
        if precision != "float32":
            raise ConfigError(
                f"the codec of this bundle computes in float32 only, received precision {precision}"
            )
        if set(spec) != _SPEC_FIELDS:
            raise BundleFormatError(
                f"audio: expected fields {sorted(_SPEC_FIELDS)}, received {sorted(spec)}"
            )
        seconds = spec["max_duration_s"]
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise BundleFormatError(f"audio: expected seconds, received {seconds!r}")
        config = read_fields(CodecConfig, spec["codec"], where="audio codec")
        try:
            model = config.build()
            read_module(model, folder / _FILE)
            return cls(
                codec=Codec(config, model),
                windowing=read_plan(spec["windows"]),
                max_duration_s=seconds,
                device=device,
            )
        except ConfigError as error:
            raise BundleFormatError(f"audio: {error}") from error

    def _codes(self, features: Tensor) -> Tensor:
        return self.codec.encode(features).int()


def _check_windows(codec: Codec, windowing: Plan) -> None:
    if not isinstance(windowing, SampleChunks | OverlappingChunks):
        raise ConfigError("expected chunk_samples of a codec, received windows of frames")
    samples, stride = windowing.chunk_samples, codec.grid.stride
    if codec.chunk is not None:
        hop = getattr(windowing, "hop_samples", samples)
        if (samples, hop) != codec.chunk:
            raise ConfigError(
                f"expected the codec's own stretches, {codec.chunk[0]} samples every "
                f"{codec.chunk[1]}, received {samples} every {hop}"
            )
    elif isinstance(windowing, OverlappingChunks):
        raise ConfigError("this codec has no stretches of its own that overlap; cut without")
    elif samples % stride:
        raise ConfigError(
            f"expected chunk_samples that {stride}, a frame, divides, received {samples}"
        )
    if samples > _MOST_SAMPLES:
        raise ConfigError(f"expected chunk_samples up to {_MOST_SAMPLES}, received {samples}")

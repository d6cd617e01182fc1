"""From the spec of a bundle's audio section to its tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import BundleFormatError
from dvse.precision import Precision


def load_audio_tokenizer(
    spec: Mapping[str, Any],
    folder: Path,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
) -> AudioTokenizer:
    """Load the audio tokenizer that `spec` describes from `folder`.

    Raises:
        BundleFormatError: an unknown kind, a wrong field, or files that do not fit.
        ConfigError: a codec in another precision than fp32.
        BundleIntegrityError: weights from the Hub that are not those of the bundle.
    """
    kind = spec.get("kind", "units") if isinstance(spec, Mapping) else "units"
    if kind == "codec":
        from dvse.audio.codec_tokenizer import CodecTokenizer

        return CodecTokenizer.from_spec(spec, folder, device=device, precision=precision)
    if kind != "units":
        raise BundleFormatError(f"audio: expected a kind 'units' or 'codec', received {kind!r}")
    return AudioTokenizer.from_spec(spec, folder, device=device, precision=precision)

"""From the spec of a bundle's audio section to its tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvse.errors import BundleFormatError
from dvse.onnx_tokenizer import KIND
from dvse.precision import Precision

if TYPE_CHECKING:
    from dvse.audio.tokenizer import AudioTokenizer


def load_audio_tokenizer(
    spec: Mapping[str, Any],
    folder: Path,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    threads: int = 1,
) -> "AudioTokenizer":
    """Load the audio tokenizer that `spec` describes from `folder`.

    Of an exported section it is an `OnnxAudioTokenizer`, which encodes and does nothing else.

    Args:
        spec, folder: the section's, and where its files lie.
        device, precision: where and in what the encoder computes.
        threads: of a graph, which is opened with them.

    Raises:
        BundleFormatError: an unknown kind, a wrong field, or files that do not fit.
        ConfigError: a codec in another precision than fp32.
        BundleIntegrityError: weights from the Hub that are not those of the bundle.
    """
    kind = spec.get("kind", "units") if isinstance(spec, Mapping) else "units"
    if kind == "codec":
        from dvse.audio.codec_tokenizer import CodecTokenizer

        return CodecTokenizer.from_spec(spec, folder, device=device, precision=precision)
    if kind == KIND:
        from dvse.audio.onnx_tokenizer import OnnxAudioTokenizer

        exported: Any = OnnxAudioTokenizer.from_spec(
            spec, folder, device=device, precision=precision, threads=threads
        )
        return exported
    if kind != "units":
        raise BundleFormatError(
            f"audio: expected a kind 'units', 'codec' or {KIND!r}, received {kind!r}"
        )
    from dvse.audio.tokenizer import AudioTokenizer

    return AudioTokenizer.from_spec(spec, folder, device=device, precision=precision)

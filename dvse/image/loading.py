"""From the spec of a bundle's image section to its tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvse.onnx_tokenizer import KIND
from dvse.precision import Precision

if TYPE_CHECKING:
    from dvse.image.tokenizer import ImageTokenizer


def load_image_tokenizer(
    spec: Mapping[str, Any],
    folder: Path,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    threads: int = 1,
) -> "ImageTokenizer":
    """Load the picture tokenizer that `spec` describes from `folder`.

    Of an exported section it is an `OnnxImageTokenizer`, which encodes and does nothing else.

    Args:
        spec, folder: the section's, and where its files lie.
        device, precision: where and in what the encoder computes.
        threads: of a graph, which is opened with them.

    Raises:
        BundleFormatError: a missing, unknown or ill-typed field, or files that do not fit.
        MissingExtraError: an exported section, and ONNX Runtime is not installed.
    """
    if isinstance(spec, Mapping) and spec.get("kind") == KIND:
        from dvse.image.onnx_tokenizer import OnnxImageTokenizer

        exported: Any = OnnxImageTokenizer.from_spec(
            spec, folder, device=device, precision=precision, threads=threads
        )
        return exported
    from dvse.image.tokenizer import ImageTokenizer

    return ImageTokenizer.from_spec(spec, folder, device=device, precision=precision)

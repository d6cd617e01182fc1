"""From the spec of a bundle's text section to its tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvse.errors import BundleFormatError
from dvse.text.tokenizer import TextTokenizer


def load_text_tokenizer(spec: Mapping[str, Any], folder: Path) -> TextTokenizer:
    """Load the text tokenizer that `spec` describes from `folder`.

    Raises:
        BundleFormatError: an unknown type, or a model file that cannot be read.
    """
    if spec == {"type": "sentencepiece"}:
        from dvse.text.sentencepiece import SentencePieceText

        return SentencePieceText.load(folder)
    if spec == {"type": "hugging_face"}:
        from dvse.text.hugging_face import HuggingFaceText

        return HuggingFaceText.load(folder)
    raise BundleFormatError(
        "text: expected the spec {'type': 'sentencepiece'} or {'type': 'hugging_face'}, received "
        f"{dict(spec)}"
    )

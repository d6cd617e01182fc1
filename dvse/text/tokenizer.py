"""The contract of a text tokenizer, and how a bundle's text folder becomes one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import BundleFormatError, DecodeError


class TextTokenizer(ABC):
    """A lossless map between strings and ids 0 … size-1: `decode(encode(text)) == text`.

    Attributes:
        size: number of ids (the highest id + 1).
        special_tokens: specials that this tokenizer defines itself, name → id. They are never
            found in text, only inserted as ids.
    """

    size: int
    special_tokens: Mapping[str, int]

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Return the ids `int32 [n]` of a string; `n` is 0 for the empty one.

        Raises:
            DecodeError: the string holds half of a surrogate pair, which no UTF-8 text has.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the string of ids; bytes that are no UTF-8 become U+FFFD."""

    @abstractmethod
    def piece(self, token_id: int) -> str:
        """Return the piece of an id as it is stored in the model."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return the JSON description."""

    @abstractmethod
    def save_files(self, folder: Path) -> None:
        """Write the model file into `folder`."""


def load_text_tokenizer(spec: Mapping[str, Any], folder: Path) -> TextTokenizer:
    """Load the text tokenizer that `spec` describes from `folder`.

    Raises:
        BundleFormatError: an unknown type, or a model file that cannot be read.
    """
    from dvse.text.hugging_face import HuggingFaceText
    from dvse.text.sentencepiece import SentencePieceText

    kinds = {"sentencepiece": SentencePieceText, "hugging_face": HuggingFaceText}
    kind = spec.get("type")
    if kind not in kinds or set(spec) != {"type"}:
        raise BundleFormatError(
            f"text: expected a spec {{'type': one of {sorted(kinds)}}}, received {dict(spec)}"
        )
    return kinds[kind].load(folder)


def check_unicode(text: str) -> str:
    """Return `text` if UTF-8 can hold it.

    Raises:
        DecodeError: it holds a lone surrogate.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DecodeError(
            f"expected text that UTF-8 can hold, received a lone surrogate "
            f"{text[error.start]!a} at position {error.start}"
        ) from None
    return text

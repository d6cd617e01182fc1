"""The contract of a text tokenizer, and how a bundle's text folder becomes one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import BundleFormatError, DecodeError, IdRangeError


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
    def piece_bytes(self, token_id: int) -> bytes:
        """Return the bytes that an id stands for, a part of a character perhaps."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return the JSON description."""

    @abstractmethod
    def save_files(self, folder: Path) -> None:
        """Write the model file into `folder`."""


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


def check_text_ids(ids: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Return `ids` as int64 if every one of them is in 0 … size-1.

    Raises:
        IdRangeError: one is not.
    """
    array = np.asarray(ids, dtype=np.int64)
    if array.size and not (0 <= array.min() and array.max() < size):
        raise IdRangeError(
            f"expected text ids in 0..{size - 1}, received {array.min()}..{array.max()}"
        )
    return array


def check_lossless(tokenizer: TextTokenizer, file: str) -> None:
    """Refuse a model that loses characters or reads special tokens out of text.

    Raises:
        BundleFormatError: a probe did not come back as it was.
    """
    for text in (*_PROBES, *tokenizer.special_tokens):
        ids = tokenizer.encode(text)
        found = tokenizer.decode(ids)
        if found != text:
            raise BundleFormatError(
                f"{file}: expected a tokenizer that loses no character, but {text!a} came back as "
                f"{found!a}; normalisation, lower case or trimmed spaces cannot be used"
            )
        if set(ids.tolist()) & set(tokenizer.special_tokens.values()):
            raise BundleFormatError(
                f"{file}: expected special tokens never to be read out of text, but {text!a} gave "
                "one; its merges or word list spell it"
            )


# Case, accents in both normal forms, a ligature, white space of every kind at both ends, control
# characters, scripts, emoji, and the pieces that SentencePiece uses for itself.
_PROBES = (
    "Aa e\u0301\u00e9\ufb01",
    "  a \t b\r\n\n ",
    "\u2581a\u3000\u4e09\x00\U0001f600\ufeff",
    "<0x41><unk><s>",
)

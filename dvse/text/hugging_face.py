"""A Hugging Face `tokenizer.json` (GLM-4 ships one) as text tokenizer.

Its special tokens keep their ids, and user text that spells one stays text.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from dvse.errors import BundleFormatError
from dvse.special_tokens import GRID_TOKENS, NAMED_TOKENS
from dvse.text.tokenizer import TextTokenizer, check_lossless, check_text_ids, check_unicode

_FILE = "tokenizer.json"
_MOST_IDS = 1 << 24  # sixty times the largest published; each is a row of an embedding
_OUR_NAMES = {*NAMED_TOKENS, *GRID_TOKENS}


def _byte_signs() -> dict[str, bytes]:
    """Return the byte that each sign of a byte-level vocabulary stands for.

    A byte that prints is itself, the others are counted from U+0100 on (Radford et al. 2019).
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printed]
    signs = [chr(byte) for byte in printed] + [chr(0x100 + n) for n in range(len(others))]
    return {sign: bytes([byte]) for sign, byte in zip(signs, [*printed, *others], strict=True)}


_BYTES = _byte_signs()


class HuggingFaceText(TextTokenizer):
    """A tokenizer of the `tokenizers` library.

    *Deviations* from what the file asks for: special tokens are never read out of text (nor are
    tokens that DVSE uses as specials, such as `<think>`), nothing is added around a text, and
    NFC normalisation is left out, for it changes characters; so is dropout of merges, which would
    give a text other ids each time.

    Args:
        document: the text of a `tokenizer.json`.

    Raises:
        BundleFormatError: it is none, or one that loses characters.
    """

    def __init__(self, document: str) -> None:
        self._document = document
        try:
            parsed = json.loads(document)
            added = parsed.get("added_tokens", [])
            for token in added:
                token["special"] |= token["content"] in _OUR_NAMES
            if (parsed.get("normalizer") or {}).get("type") == "NFC":
                parsed["normalizer"] = None
            parsed["truncation"] = parsed["padding"] = None
            if "dropout" in (parsed.get("model") or {}):
                parsed["model"]["dropout"] = None
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(parsed))
            self._tokenizer.encode_special_tokens = True
            self.special_tokens = {t["content"]: t["id"] for t in added if t["special"]}
            self._added_ids = {t["id"] for t in added}
            self._is_byte_level = '"ByteLevel"' in json.dumps(parsed.get("decoder"))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleFormatError(
                f"{_FILE}: expected a Hugging Face tokenizer; {error}"
            ) from None
        self.size = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        if self.size > _MOST_IDS:
            raise BundleFormatError(
                f"{_FILE}: expected ids below {_MOST_IDS:,}, received {self.size - 1:,}"
            )
        check_lossless(self, _FILE)

    @classmethod
    def load(cls, folder: Path) -> "HuggingFaceText":
        """Read `tokenizer.json` in `folder`.

        Raises:
            BundleFormatError: it is missing or no lossless tokenizer.
        """
        try:
            return cls((folder / _FILE).read_bytes().decode("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BundleFormatError(f"text/{_FILE}: cannot be read; {error}") from None

    def encode(self, text: str) -> np.ndarray:
        """Return the ids `int32 [n]` of a text; nothing in it becomes a special token."""
        encoded = self._tokenizer.encode(check_unicode(text), add_special_tokens=False)
        return np.asarray(encoded.ids, dtype=np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of ids, without a character added or lost.

        Raises:
            IdRangeError: an id outside 0 … size-1.
        """
        ids = check_text_ids(ids, self.size)
        return self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)

    def piece(self, token_id: int) -> str:
        """Return the piece that an id stands for, as the model writes it."""
        (token_id,) = check_text_ids([token_id], self.size).tolist()
        return self._tokenizer.id_to_token(token_id) or ""

    def piece_bytes(self, token_id: int) -> bytes:
        """Return the bytes that an id stands for, a part of a character perhaps."""
        piece = self.piece(token_id)
        if token_id in self._added_ids:
            return piece.encode()
        if self._is_byte_level:
            return b"".join(_BYTES.get(sign, sign.encode()) for sign in piece)
        if found := re.fullmatch(r"<0x([0-9A-F]{2})>", piece):
            return bytes([int(found[1], 16)])
        return self.decode([token_id]).encode()

    def spec(self) -> dict[str, Any]:
        """Return the JSON description."""
        return {"type": "hugging_face"}

    def save_files(self, folder: Path) -> None:
        """Write the `tokenizer.json` into `folder`."""
        (folder / _FILE).write_bytes(self._document.encode())

"""A Hugging Face `tokenizer.json` (GLM-4 ships one) as text tokenizer.

Its special tokens keep their ids and are taken out of the reader, so that user text that spells
one stays text.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from dvse.errors import BundleFormatError, IdRangeError
from dvse.text.tokenizer import TextTokenizer, check_unicode

_FILE = "tokenizer.json"


class HuggingFaceText(TextTokenizer):
    """A tokenizer of the `tokenizers` library.

    Args:
        document: the text of a `tokenizer.json`.

    Raises:
        BundleFormatError: it is none.
    """

    def __init__(self, document: str) -> None:
        self._document = document
        try:
            parsed = json.loads(document)
            added = {token["content"]: token["id"] for token in parsed.get("added_tokens", [])}
            parsed["added_tokens"] = []
            parsed["post_processor"] = None
            parsed["truncation"] = parsed["padding"] = None
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(parsed))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleFormatError(
                f"{_FILE}: expected a Hugging Face tokenizer; {error}"
            ) from None
        self.special_tokens = added
        self._added = {i: name for name, i in added.items()}
        ids = [*self._tokenizer.get_vocab().values(), *added.values()]
        self.size = max(ids, default=-1) + 1

    @classmethod
    def load(cls, folder: Path) -> "HuggingFaceText":
        """Read `tokenizer.json` in `folder`.

        Raises:
            BundleFormatError: it is missing or no tokenizer.
        """
        try:
            return cls((folder / _FILE).read_text(encoding="utf-8"))
        except OSError as error:
            raise BundleFormatError(f"text/{_FILE}: cannot be read; {error.strerror}") from None

    def encode(self, text: str) -> np.ndarray:
        """See `TextTokenizer.encode`."""
        encoded = self._tokenizer.encode(check_unicode(text), add_special_tokens=False)
        return np.asarray(encoded.ids, dtype=np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """See `TextTokenizer.decode`.

        Raises:
            IdRangeError: an id outside 0 … size-1.
        """
        ids = np.asarray(ids, dtype=np.int64)
        if ids.size and not (0 <= ids.min() and ids.max() < self.size):
            raise IdRangeError(
                f"expected text ids in 0..{self.size - 1}, received {ids.min()}..{ids.max()}"
            )
        return self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)

    def piece(self, token_id: int) -> str:
        """See `TextTokenizer.piece`."""
        token_id = int(token_id)
        return self._added.get(token_id) or self._tokenizer.id_to_token(token_id) or ""

    def spec(self) -> dict[str, Any]:
        """See `TextTokenizer.spec`."""
        return {"type": "hugging_face"}

    def save_files(self, folder: Path) -> None:
        """See `TextTokenizer.save_files`."""
        (folder / _FILE).write_text(self._document, encoding="utf-8")

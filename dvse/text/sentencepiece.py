"""SentencePiece (Kudo & Richardson 2018), trained and used so that no character is lost.

*Deviations* from the defaults: identity normalisation, no dummy prefix, no whitespace removed,
byte fallback on, no control pieces. SentencePiece writes a space as `▁` (U+2581) and would read a
`▁` of the text back as a space; such characters are therefore coded as their three bytes.
"""

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sentencepiece

from dvse.errors import BundleFormatError, ConfigError, TrainingError
from dvse.text.tokenizer import TextTokenizer, check_lossless, check_text_ids, check_unicode

_FILE = "spiece.model"
_SPACE = "▁"
_LONGEST_SENTENCE = 16384
_SMALLEST = 260


class SentencePieceText(TextTokenizer):
    r"""A SentencePiece model.

    Args:
        model: the serialised model (the bytes of a `.model` file).

    Raises:
        BundleFormatError: no SentencePiece model, or one that loses characters: without byte
            fallback, or with normalisation or a dummy prefix.

    >>> model = SentencePieceText.train(["one two three"] * 50, vocab_size=265)
    >>> model.decode(model.encode(" one\n▁ 三 "))
    ' one\n▁ 三 '
    """

    special_tokens: dict[str, int] = {}  # noqa: RUF012 - SentencePiece pieces are all text here

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except Exception as error:
            raise BundleFormatError(f"{_FILE}: expected a SentencePiece model; {error}") from None
        self.size = self._processor.GetPieceSize()
        self._bytes_to_id: dict[int, int] = {}
        self._bytes = self._byte_pieces()
        self._space_ids = [self._bytes_to_id[b] for b in _SPACE.encode()]
        check_lossless(self, _FILE)

    @classmethod
    def train(
        cls,
        lines: Iterable[str],
        *,
        vocab_size: int,
        model_type: Literal["unigram", "bpe"] = "unigram",
        character_coverage: float = 0.9995,
        num_threads: int = 1,
    ) -> "SentencePieceText":
        """Train a model on lines of text.

        Args:
            lines: an iterator; read once.
            vocab_size: number of pieces, 256 byte pieces included.
            model_type: `unigram` (Kudo 2018) or `bpe` (Sennrich et al. 2016).
            character_coverage: share of the text whose characters get a piece of their own.
            num_threads: of the trainer; the result does not depend on it.

        Raises:
            TrainingError: too little text for so many pieces.
            ConfigError: a setting outside its values.
        """
        if model_type not in ("unigram", "bpe"):
            raise ConfigError(f"expected model_type 'unigram' or 'bpe', received {model_type!r}")
        if vocab_size < _SMALLEST:
            raise ConfigError(
                f"expected vocab_size of at least {_SMALLEST} (256 bytes and a few), received "
                f"{vocab_size}"
            )
        buffer = BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=(line for line in lines if line.strip()),
                model_writer=buffer,
                vocab_size=vocab_size,
                model_type=model_type,
                character_coverage=character_coverage,
                num_threads=num_threads,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                allow_whitespace_only_pieces=True,
                byte_fallback=True,
                split_digits=True,
                max_sentence_length=_LONGEST_SENTENCE,
                unk_id=0,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                minloglevel=2,
            )
        except (RuntimeError, OSError, StopIteration) as error:
            raise TrainingError(_in_our_terms(str(error), vocab_size)) from None
        return cls(buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> "SentencePieceText":
        """Read `spiece.model` in `folder`.

        Raises:
            BundleFormatError: it is missing or no SentencePiece model.
        """
        try:
            return cls((folder / _FILE).read_bytes())
        except OSError as error:
            raise BundleFormatError(f"text/{_FILE}: cannot be read; {error.strerror}") from None

    def encode(self, text: str) -> np.ndarray:
        """Return the ids `int32 [n]` of a text; nothing in it becomes a special token."""
        stretches = check_unicode(text).split(_SPACE)
        ids = self._processor.EncodeAsIds(stretches[0])
        for stretch in stretches[1:]:
            ids = ids + self._space_ids + self._processor.EncodeAsIds(stretch)
        return np.asarray(ids, dtype=np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of ids, without a character added or lost.

        Raises:
            IdRangeError: an id outside 0 … size-1.
        """
        ids = check_text_ids(ids, self.size)
        return b"".join([self._bytes[i] for i in ids.tolist()]).decode("utf-8", errors="replace")

    def piece(self, token_id: int) -> str:
        """Return the piece that an id stands for, as the model writes it."""
        (token_id,) = check_text_ids([token_id], self.size).tolist()
        return self._processor.IdToPiece(token_id)

    def piece_bytes(self, token_id: int) -> bytes:
        """Return the bytes that an id stands for, a part of a character perhaps."""
        if not 0 <= token_id < self.size:
            check_text_ids([token_id], self.size)
        return self._bytes[token_id]  # asked for every id of an answer's grammar

    def spec(self) -> dict[str, Any]:
        """Return the JSON description."""
        return {"type": "sentencepiece"}

    def save_files(self, folder: Path) -> None:
        """Write the model into `folder`, byte for byte as it was read."""
        (folder / _FILE).write_bytes(self._model)

    def _byte_pieces(self) -> list[bytes]:
        """Bytes of each piece; also fills `_bytes_to_id`."""
        pieces = []
        for i in range(self.size):
            piece = self._processor.IdToPiece(i)
            if self._processor.IsByte(i):
                value = int(piece[3:5], 16)
                self._bytes_to_id[value] = i
                pieces.append(bytes([value]))
            elif self._processor.IsUnknown(i) or self._processor.IsControl(i):
                pieces.append(b"")
            else:
                pieces.append(piece.replace(_SPACE, " ").encode())
        if len(self._bytes_to_id) != 256:
            raise BundleFormatError(
                f"{_FILE}: expected a SentencePiece model with byte fallback (256 byte pieces), "
                f"received {len(self._bytes_to_id)}; train it with dvse train text"
            )
        return pieces


def _in_our_terms(reason: str, vocab_size: int) -> str:
    """What a failure of SentencePiece's trainer means for whoever gave the text."""
    if "sentences_.empty()" in reason:
        return "expected text to train on, received no line that is not blank; give more text"
    if found := re.search(r"too high \(\d+\).*<= (\d+)", reason):
        most = int(found[1])
        smaller = f"ask for a vocab_size of at most {most}, or " if most >= _SMALLEST else ""
        return (
            f"expected text for {vocab_size} pieces, the text given is enough for {most}; "
            f"{smaller}give more text"
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason):
        return (
            f"expected a vocab_size of at least {found[1]}, for the 256 bytes and every character "
            f"of this text, received {vocab_size}; raise it, or lower character_coverage"
        )
    return f"the text could not be made into {vocab_size} pieces; {' '.join(reason.split())[:300]}"

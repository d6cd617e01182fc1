"""Byte pair encoding over codes: frequent runs of codes become one id each, and nothing is lost.

    id 0 … K-1        the codes themselves
    id K … K+M-1      runs of codes that were learnt, most frequent pairs first

Learnt with SentencePiece over strings that have a character for each code, as ESPnet does with
discrete speech units (Chang et al. 2023, "Exploration of Efficient End-to-End ASR using Discretized
Input from Self-Supervised Learning", section 2.3). *Deviation*: repeats are not taken out before,
so that decoding gives every frame back.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from typing import Any

import numpy as np
import sentencepiece

from dvse.errors import ConfigError, IdRangeError, TrainingError

_FIRST = 0xF0000
"""Character of code 0: a plane for private use, in which no text is written."""

MOST_CODES = 65_000

_LONGEST_RUN = 16
_LONGEST_STRING = 1 << 24


@dataclass(frozen=True, kw_only=True)
class CodePairs:
    """A learnt encoding.

    Attributes:
        num_codes: codes (K).
        runs: the codes that each id from K on stands for.
        model: of SentencePiece.

    >>> pairs = CodePairs.learn([np.tile([3, 1, 4], 40)] * 20, num_codes=5, num_runs=4)
    >>> ids = pairs.encode(np.array([3, 1, 4, 0, 3, 1, 4]))
    >>> len(ids) < 7, pairs.decode(ids).tolist()
    (True, [3, 1, 4, 0, 3, 1, 4])
    """

    num_codes: int
    runs: tuple[tuple[int, ...], ...]
    model: bytes = field(repr=False)
    _processor: Any = field(init=False, repr=False, compare=False)
    _ids: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        processor = sentencepiece.SentencePieceProcessor()
        processor.LoadFromSerializedProto(self.model)
        known: dict[tuple[int, ...], int] = {(code,): code for code in range(self.num_codes)}
        known |= {run: self.num_codes + number for number, run in enumerate(self.runs)}
        pieces = (_codes(processor.IdToPiece(i)) for i in range(processor.GetPieceSize()))
        object.__setattr__(self, "_processor", processor)
        object.__setattr__(self, "_ids", np.array([known.get(piece, -1) for piece in pieces]))

    @classmethod
    def learn(
        cls, sequences: Iterable[np.ndarray], *, num_codes: int, num_runs: int
    ) -> "CodePairs":
        """Learn runs from sequences of codes.

        Args:
            sequences: each int `[n]` in 0 … num_codes-1.
            num_codes: of the codebook.
            num_runs: runs to learn; where the sequences have fewer that occur twice, fewer.

        Raises:
            ConfigError: more codes than there are characters, or no run asked for.
            TrainingError: nothing to learn from.
        """
        if not 1 <= num_codes <= MOST_CODES or num_runs < 1:
            raise ConfigError(
                f"expected 1 to {MOST_CODES:,} codes and at least 1 run, received {num_codes} and "
                f"{num_runs}"
            )
        strings = [text for sequence in sequences if (text := _string(sequence))]
        if not strings:
            raise TrainingError("expected at least one sequence of codes, received none")
        buffer = BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=chain(strings, _unseen(strings, num_codes)),
                model_writer=buffer,
                model_type="bpe",
                vocab_size=1 + num_codes + num_runs,
                hard_vocab_limit=False,
                character_coverage=1.0,
                max_sentencepiece_length=_LONGEST_RUN,
                max_sentence_length=_LONGEST_STRING,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                split_by_unicode_script=False,
                split_by_whitespace=False,
                split_by_number=False,
                num_threads=1,
                unk_id=0,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise TrainingError(f"no runs could be learnt from these codes; {error}") from None
        model = buffer.getvalue()
        processor = sentencepiece.SentencePieceProcessor()
        processor.LoadFromSerializedProto(model)
        pieces = [_codes(processor.IdToPiece(i)) for i in range(processor.GetPieceSize())]
        return cls(num_codes=num_codes, runs=tuple(p for p in pieces if len(p) > 1), model=model)

    @property
    def size(self) -> int:
        """Ids in all: codes and runs."""
        return self.num_codes + len(self.runs)

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Return the ids, int64 `[m]` with m ≤ n, of codes `[n]`.

        Raises:
            IdRangeError: a code outside 0 … num_codes-1.
        """
        codes = _checked(codes, self.num_codes, "codes")
        ids = self._ids[np.array(self._processor.EncodeAsIds(_string(codes)), dtype=np.int64)]
        assert (ids >= 0).all(), "every code has a piece"
        return ids

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Return the codes, int64 `[n]`, that were encoded as these ids.

        Raises:
            IdRangeError: an id outside 0 … size-1.
        """
        found: list[int] = []
        for i in _checked(ids, self.size, "ids").tolist():
            found.extend((i,) if i < self.num_codes else self.runs[i - self.num_codes])
        return np.array(found, dtype=np.int64)


def _string(codes: Sequence[int] | np.ndarray) -> str:
    return "".join(chr(_FIRST + int(code)) for code in codes)


def _unseen(strings: Sequence[str], num_codes: int) -> Iterator[str]:
    """Each code that does not occur, alone: so it gets a piece, and is part of no run."""
    seen = set().union(*strings)
    return (chr(_FIRST + code) for code in range(num_codes) if chr(_FIRST + code) not in seen)


def _codes(piece: str) -> tuple[int, ...]:
    """The codes of a piece, none where it is no run of them."""
    codes = tuple(ord(character) - _FIRST for character in piece)
    return codes if min(codes, default=-1) >= 0 else ()


def _checked(values: np.ndarray, stop: int, what: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.int64)
    if len(values) and not (0 <= values.min() and values.max() < stop):
        raise IdRangeError(
            f"expected {what} in 0..{stop - 1}, received {values.min()}..{values.max()}"
        )
    return values

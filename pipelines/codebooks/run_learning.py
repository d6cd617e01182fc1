"""Learning which runs of codes are frequent, with SentencePiece over a character for each code.

That is ESPnet's practice with discrete speech units. What was learnt before stays as it is and
where it is: learning on treats old runs as characters of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from itertools import chain

import numpy as np
import sentencepiece

from dvse.code_runs import CodeRuns
from dvse.errors import ConfigError, TrainingError

_FIRST = 0xF0000
"""Character of symbol 0: a plane for private use, in which no text is written."""

MOST_SYMBOLS = 65_000

_LONGEST_RUN = 16
_LONGEST_STRING = 1 << 24


def learn_runs(sequences: Iterable[np.ndarray], *, known: CodeRuns, num_runs: int) -> CodeRuns:
    """Return runs of codes: those that are known, and behind them new ones, most frequent first.

    Args:
        sequences: of codes, each int `[n]` in 0 … num_codes-1.
        known: the codes there are, and the runs that keep their place.
        num_runs: runs to add; where the sequences have fewer that occur twice, fewer.

    Raises:
        ConfigError: more codes than there are characters, or no run asked for.
        TrainingError: nothing to learn from.

    >>> codes = [np.tile([3, 1, 4], 40)] * 20
    >>> learn_runs(codes, known=CodeRuns(num_codes=5, runs=[]), num_runs=2).runs
    ((1, 4), (3, 1, 4))
    """
    pieces = pieces_of(train_model((known.encode(s) for s in sequences), known.size, num_runs))
    found = (tuple(known.decode(piece).tolist()) for piece in pieces if len(piece) > 1)
    return CodeRuns(num_codes=known.num_codes, runs=dict.fromkeys([*known.runs, *found]))


def train_model(sequences: Iterable[np.ndarray], num_symbols: int, num_runs: int) -> bytes:
    """Return SentencePiece's BPE model of sequences of symbols, a character a symbol.

    Raises:
        ConfigError, TrainingError: as `learn_runs` does.
    """
    if not 1 <= num_symbols <= MOST_SYMBOLS or num_runs < 1:
        raise ConfigError(
            f"expected 1 to {MOST_SYMBOLS:,} codes and at least 1 run, received {num_symbols} and "
            f"{num_runs}"
        )
    strings = [text for sequence in sequences if (text := string_of(sequence))]
    if not strings:
        raise TrainingError("expected at least one sequence of codes, received none")
    buffer = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=chain(strings, _unseen(strings, num_symbols)),
            model_writer=buffer,
            model_type="bpe",
            vocab_size=1 + num_symbols + num_runs,
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
    return buffer.getvalue()


def pieces_of(model: bytes) -> list[tuple[int, ...]]:
    """Return the symbols of each piece of a model, none for one that is no text of symbols."""
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    texts = (processor.IdToPiece(i) for i in range(processor.GetPieceSize()))
    symbols = (tuple(ord(character) - _FIRST for character in text) for text in texts)
    return [piece if min(piece, default=-1) >= 0 else () for piece in symbols]


def string_of(symbols: Sequence[int] | np.ndarray) -> str:
    """Return the text in which each symbol is a character."""
    return "".join(chr(_FIRST + int(symbol)) for symbol in symbols)


def _unseen(strings: Sequence[str], num_symbols: int) -> Iterator[str]:
    """Each symbol that does not occur, alone: so it gets a piece, and is part of no run."""
    seen = set().union(*strings)
    return (chr(_FIRST + s) for s in range(num_symbols) if chr(_FIRST + s) not in seen)

"""Which tokens an answer may consist of: text, and the answer's own special tokens.

    thinking off:  text+ stop               the prompt has closed <think></think> already
    thinking on:   <think> text* </think> text+ stop

A decoder that is trained well keeps to this by itself; the constraint makes it certain, so that
whatever comes out can be read as text. Bytes that stand alone keep to UTF-8, so that no half of a
character is left. Knows ids and logits, nothing of generation or media.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dvse.blocks import KINDS
from dvse.special_tokens import END_THINK, THINK
from dvse.vocabulary import Vocabulary
from pipelines.answering.model_directory import STOP_TOKENS
from pipelines.answering.utf8 import Utf8Pieces

if TYPE_CHECKING:
    import torch

    from dvse.tokenizer import Tokenizer


class Phase(IntEnum):
    """Where an answer stands; the number is the row of `LegalTokens.allowed`."""

    OPENING = 0
    REASONING = 1
    FIRST = 2
    ANSWER = 3


class LegalTokens:
    """The tokens that may come next, a phase of the answer at a time.

    Attributes:
        table: `bool [4, vocab_size]`, a row a `Phase`.
        stop_ids: the ids that end an answer.
        utf8: the tokens that may come next within a character and between two.

    Args:
        vocabulary: of the bundle.
        vocab_size: of the decoder, at least as large.
        pieces: bytes of each text id; without them every one is taken for whole characters.

    >>> legal = LegalTokens(Vocabulary.create(text_size=5), vocab_size=384)
    >>> legal.table[Phase.FIRST].nonzero()[0].tolist()
    [0, 1, 2, 3, 4]
    >>> legal.phase([], thinking=True), legal.phase([3], thinking=False)
    (<Phase.OPENING: 0>, <Phase.ANSWER: 3>)
    """

    def __init__(
        self, vocabulary: Vocabulary, vocab_size: int, *, pieces: Sequence[bytes] = ()
    ) -> None:
        specials = vocabulary.special_tokens
        self.think_id, self.end_think_id = specials[THINK], specials[END_THINK]
        self.stop_ids = [specials[name] for name in STOP_TOKENS]
        kinds = vocabulary.kinds(np.arange(vocabulary.num_ids))
        text_ids = np.flatnonzero(kinds == KINDS.index("text"))
        self.table = np.zeros((len(Phase), vocab_size), dtype=bool)
        self.table[Phase.OPENING, self.think_id] = True
        self.table[Phase.REASONING :, text_ids] = True
        self.table[Phase.REASONING, self.end_think_id] = True
        self.table[Phase.ANSWER, self.stop_ids] = True
        self.utf8 = Utf8Pieces(pieces, vocab_size)

    @classmethod
    def of(cls, tokenizer: "Tokenizer", vocab_size: int) -> "LegalTokens":
        """Return those of a tokenizer's answers."""
        text = tokenizer.text
        pieces = [text.piece_bytes(token_id) for token_id in range(text.size)]
        return cls(tokenizer.vocabulary, vocab_size, pieces=pieces)

    @cached_property
    def allowed(self) -> "torch.Tensor":
        """The table as a tensor of the same memory."""
        import torch

        return torch.from_numpy(self.table)

    @property
    def vocab_size(self) -> int:
        """Ids that the decoder scores."""
        return self.table.shape[1]

    def phase(self, generated: Iterable[int], *, thinking: bool) -> Phase:
        """Return the phase after the generated ids of one answer."""
        phase = Phase.OPENING if thinking else Phase.FIRST
        for token_id in generated:
            phase = self.after(phase, token_id)
        return phase

    def after(self, phase: Phase, token_id: int) -> Phase:
        """Return the phase that a token leads to."""
        if phase == Phase.OPENING:
            return Phase.REASONING
        if phase == Phase.REASONING:
            return Phase.FIRST if token_id == self.end_think_id else Phase.REASONING
        return Phase.ANSWER

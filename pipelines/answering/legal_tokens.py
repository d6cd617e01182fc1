"""Which tokens an answer may consist of: text, and the answer's own special tokens.

    thinking off:  text+ stop               the prompt has closed <think></think> already
    thinking on:   <think> text* </think> text+ stop

A decoder that is trained well keeps to this by itself; the constraint makes it certain, so that
whatever comes out can be read as text. Bytes that stand alone keep to UTF-8, so that no half of a
character is left. Knows ids and logits, nothing of generation or media.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import torch

from dvse.blocks import KINDS
from dvse.special_tokens import END_THINK, THINK
from dvse.vocabulary import Vocabulary
from pipelines.answering.model_directory import STOP_TOKENS
from pipelines.answering.utf8 import Utf8Pieces

if TYPE_CHECKING:
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
        allowed: `bool [4, vocab_size]`, a row a `Phase`.
        stop_ids: the ids that end an answer.
        utf8: the tokens that may come next within a character and between two.

    Args:
        vocabulary: of the bundle.
        vocab_size: of the decoder, at least as large.
        pieces: bytes of each text id; without them every one is taken for whole characters.

    >>> legal = LegalTokens(Vocabulary.create(text_size=5), vocab_size=384)
    >>> legal.allowed[Phase.FIRST].nonzero().flatten().tolist()
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
        text_ids = torch.from_numpy(np.flatnonzero(kinds == KINDS.index("text")))
        self.allowed = torch.zeros(len(Phase), vocab_size, dtype=torch.bool)
        self.allowed[Phase.OPENING, self.think_id] = True
        self.allowed[Phase.REASONING :, text_ids] = True
        self.allowed[Phase.REASONING, self.end_think_id] = True
        self.allowed[Phase.ANSWER, self.stop_ids] = True
        self.utf8 = Utf8Pieces(pieces, vocab_size)

    @classmethod
    def of(cls, tokenizer: "Tokenizer", vocab_size: int) -> "LegalTokens":
        """Return those of a tokenizer's answers."""
        text = tokenizer.text
        pieces = [text.piece_bytes(token_id) for token_id in range(text.size)]
        return cls(tokenizer.vocabulary, vocab_size, pieces=pieces)

    @property
    def vocab_size(self) -> int:
        """Ids that the decoder scores."""
        return self.allowed.shape[1]

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


class LegalAnswer:
    """For `generate(logits_processor=[...])`: forbids all that `LegalTokens` does not allow.

    Prompts go in as `inputs_embeds`, so that `input_ids` holds the answers and nothing else.

    Args:
        legal: the table.
        thinking: whether the prompts leave `<think>` open.
    """

    def __init__(self, legal: LegalTokens, *, thinking: bool) -> None:
        self._legal = legal
        self._thinking = thinking
        self._penalty: torch.Tensor | None = None
        self._is_broken: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return `scores` `[B, vocab_size]` with minus infinity on what may not come next."""
        if self._penalty is None:
            allowed = self._legal.allowed.to(scores.device)
            shut = torch.full(allowed.shape, -torch.inf, dtype=scores.dtype, device=scores.device)
            self._penalty = shut.masked_fill(allowed, 0.0)
            self._is_broken = ~self._legal.utf8.allowed.to(scores.device)
        assert self._is_broken is not None
        scores = scores + self._penalty[self._phases(input_ids)]
        return scores.masked_fill(self._is_broken[self._legal.utf8.states(input_ids)], -torch.inf)

    def _phases(self, generated: torch.Tensor) -> "torch.Tensor | int":
        """The phase of each row, or of all rows where they share it."""
        length = generated.shape[1]
        if not self._thinking:
            return Phase.ANSWER if length else Phase.FIRST
        if not length:
            return Phase.OPENING
        is_end = generated == self._legal.end_think_id
        phases = torch.where(is_end.any(dim=1), Phase.ANSWER.value, Phase.REASONING.value)
        return torch.where(is_end[:, -1], Phase.FIRST.value, phases)

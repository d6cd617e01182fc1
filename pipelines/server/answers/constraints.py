"""Answers that have to keep to a form: llguidance says which ids may come next.

Source: the library's own matcher over the pieces of our vocabulary; nothing of the grammar is ours.
"""

from functools import cache
from typing import Any

import torch

from dvse.errors import InputError, MissingExtraError
from dvse.text.sentencepiece import SentencePieceText
from dvse.text.tokenizer import TextTokenizer
from pipelines.answering.legal_tokens import LegalTokens, Phase
from pipelines.server.answers.answer_form import AnswerForm
from pipelines.server.batching.constraint import Constraint


class Constraints:
    """Makes a constraint for each answer.

    Args:
        text: SentencePiece, whose pieces are bytes; others are refused when first asked.
        legal: knows the ids that end an answer.
    """

    def __init__(self, text: TextTokenizer, legal: LegalTokens) -> None:
        self._text, self._legal = text, legal

    def compile(self, form: AnswerForm, count: int) -> list[Constraint]:
        """Return so many new constraints; slow, so call it away from the event loop.

        Raises:
            InputError: a form that cannot be kept to, or a vocabulary without bytes.
            MissingExtraError: llguidance is not installed.
        """
        try:
            from llguidance import LLMatcher
        except ImportError:
            raise MissingExtraError.for_extra("llguidance", "serve") from None
        try:
            matcher = LLMatcher(self._tokenizer(), LLMatcher.grammar_from_lark(form.grammar()))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"this form cannot be followed; {_first_line(str(error))}") from None
        if matcher.is_error():
            reason = _first_line(matcher.get_error())
            raise InputError(f"this form cannot be followed; {reason}")
        first = _MatcherConstraint(matcher, self._legal)
        if not bool((first.allowed() & self._legal.allowed[Phase.ANSWER]).any()):
            raise InputError("this form has no beginning that this model could write")
        return [_MatcherConstraint(matcher.deep_copy(), self._legal) for _ in range(count)]

    @cache  # noqa: B019 - one server, one of these
    def _tokenizer(self) -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        if not isinstance(self._text, SentencePieceText):
            raise InputError("forms need a SentencePiece vocabulary; this model has another")
        return LLTokenizer(TokenizerWrapper(_Pieces(self._text, self._legal)))


class _Pieces:
    """Our vocabulary as llguidance reads it."""

    bos_token_id = None

    def __init__(self, text: SentencePieceText, legal: LegalTokens) -> None:
        self._text = text
        self.eos_token_id = legal.stop_ids[0]
        size = legal.allowed.shape[1]
        self.tokens = [text.piece_bytes(i) for i in range(text.size)]
        self.tokens += [f"<|{i}|>".encode() for i in range(text.size, size)]
        self.special_token_ids = list(range(text.size, size))

    def __call__(self, text: str | bytes) -> list[int]:
        if isinstance(text, bytes):
            text = text.decode("utf-8", errors="replace")
        return self._text.encode(text).tolist()


class _MatcherConstraint(Constraint):
    def __init__(self, matcher: Any, legal: LegalTokens) -> None:
        self._matcher, self._stop_ids = matcher, legal.stop_ids
        self._vocab_size = legal.allowed.shape[1]

    def allowed(self) -> torch.Tensor:
        if self._matcher.is_error():  # a limit of the library was passed on the way
            return torch.zeros(self._vocab_size, dtype=torch.bool)
        if self._matcher.is_stopped():
            allowed = torch.zeros(self._vocab_size, dtype=torch.bool)
            allowed[self._stop_ids] = True
            return allowed
        words = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.int32)
        bits = (words[:, None] >> torch.arange(32)) & 1
        return bits.flatten()[: self._vocab_size].bool()

    def push(self, token_id: int) -> None:
        if not self._matcher.is_stopped() and not self._matcher.is_error():
            self._matcher.consume_token(token_id)


def _first_line(message: str) -> str:
    lines = [line for line in message.splitlines() if line.strip()]
    return f"{lines[0] if lines else 'no reason given':.200}"

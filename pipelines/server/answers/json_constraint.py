"""Answers that have to be JSON: llguidance says which ids may come next.

Source: the library's own matcher over the pieces of our vocabulary; nothing of the grammar is ours.
"""

import json
from functools import cache
from typing import Any

import torch

from dvse.errors import InputError, MissingExtraError
from dvse.text.sentencepiece import SentencePieceText
from dvse.text.tokenizer import TextTokenizer
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.server.batching.constraint import Constraint

_ANY_OBJECT = {"type": "object"}


class JsonConstraints:
    """Makes a constraint for each answer.

    Args:
        text: SentencePiece, whose pieces are bytes; others are refused when first asked.
        legal: knows the ids that end an answer.
    """

    def __init__(self, text: TextTokenizer, legal: LegalTokens) -> None:
        self._text, self._legal = text, legal
        self._vocab_size = legal.allowed.shape[1]

    def for_schema(self, schema: dict[str, Any] | None) -> Constraint:
        """Return a new constraint; `None` stands for any object.

        Raises:
            InputError: a schema that cannot be followed, or a vocabulary without bytes.
            MissingExtraError: llguidance is not installed.
        """
        try:
            from llguidance import LLMatcher
        except ImportError:
            raise MissingExtraError.for_extra("llguidance", "serve") from None
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                json.dumps(_ANY_OBJECT if schema is None else schema),
                overrides={"whitespace_flexible": False},
            )
            matcher = LLMatcher(self._tokenizer(), grammar)
        except (ValueError, RecursionError) as error:
            raise InputError(f"response_format: {str(error).splitlines()[0]:.200}") from None
        if matcher.is_error():
            reason = matcher.get_error().splitlines()[0]
            raise InputError(f"response_format: this schema cannot be followed; {reason:.200}")
        return _JsonConstraint(matcher, self._vocab_size, self._legal.stop_ids)

    @cache  # noqa: B019 - one server, one of these
    def _tokenizer(self) -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        if not isinstance(self._text, SentencePieceText):
            raise InputError(
                "response_format: JSON needs a SentencePiece vocabulary; this model has another"
            )
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


class _JsonConstraint(Constraint):
    def __init__(self, matcher: Any, vocab_size: int, stop_ids: list[int]) -> None:
        self._matcher, self._vocab_size, self._stop_ids = matcher, vocab_size, stop_ids

    def allowed(self) -> torch.Tensor:
        if self._matcher.is_stopped() or self._matcher.is_error():
            allowed = torch.zeros(self._vocab_size, dtype=torch.bool)
            allowed[self._stop_ids] = True
            return allowed
        words = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.int32)
        bits = (words[:, None] >> torch.arange(32)) & 1
        return bits.flatten()[: self._vocab_size].bool()

    def push(self, token_id: int) -> None:
        if not self._matcher.is_stopped() and not self._matcher.is_error():
            self._matcher.consume_token(token_id)

"""Tokens and their log-probabilities as clients are shown them."""

from collections.abc import Sequence

from dvse.text.tokenizer import TextTokenizer
from pipelines.server.batching.batcher import Token
from pipelines.server.schemas.chat import ChoiceLogprobs, TokenLogprob, TopLogprob

_NEVER = -9999.0  # what OpenAI writes for a probability of nothing


def shown_token(token_id: int, logprob: float, text: TextTokenizer) -> TopLogprob:
    """Return a token with its bytes, which may be half a character."""
    logprob = max(logprob, _NEVER)
    if token_id >= text.size:
        return TopLogprob(token=f"<|{token_id}|>", logprob=logprob, bytes=None)
    data = text.piece_bytes(token_id)
    return TopLogprob(token=data.decode("utf-8", "replace"), logprob=logprob, bytes=list(data))


def shown_tokens(tokens: Sequence[Token], text: TextTokenizer) -> ChoiceLogprobs:
    """Return the tokens of an answer, each with the likeliest at its place."""
    return ChoiceLogprobs(
        content=[
            TokenLogprob(
                **shown_token(token.id, token.logprob or 0.0, text).model_dump(),
                top_logprobs=[shown_token(i, logprob, text) for i, logprob in token.top],
            )
            for token in tokens
        ]
    )

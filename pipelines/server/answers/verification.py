"""Guessed tokens to verdicts: what the batcher says of one guess after another."""

import asyncio
from collections import deque
from dataclasses import dataclass

from pipelines.server.answers.answer_stream import Outbox
from pipelines.server.batching.batcher import BatcherError, FinishReason, Sink, Token


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one guess.

    Attributes:
        ids: the answer's next tokens.
        finish_reason: why it ended, `None` while it goes on.
    """

    ids: tuple[int, ...]
    finish_reason: FinishReason | None = None

    def num_accepted(self, draft: "tuple[int, ...] | list[int]") -> int:
        """Return how many tokens of the guess were right.

        >>> Verdict(ids=(7, 8, 9)).num_accepted([7, 8, 5, 6])
        2
        """
        pairs = zip(self.ids, draft, strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(self.ids), len(draft)))


class Verification(Sink):
    """Takes tokens in the batcher's thread, gives verdicts in the event loop.

    Attributes:
        is_over: whether nothing follows.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.is_over = False
        self._outbox = outbox
        self._ids: list[int] = []
        self._verdicts: deque[Verdict] = deque()
        self._error: BatcherError | None = None
        self._news = asyncio.Event()

    def push(self, token: Token) -> bool:
        """Keep a token for the verdict."""
        self._ids.append(token.id)
        return False

    def settle(self) -> None:
        """Give the verdict."""
        self._give(None)

    def finish(self, reason: FinishReason) -> None:
        """Give the last verdict."""
        self.is_over = True
        self._give(reason)

    def fail(self, error: BatcherError) -> None:
        """Raise `error` where the verdict is waited for."""
        self.is_over, self._error = True, error
        self._outbox.post(self._news)

    async def verdict(self) -> Verdict:
        """Wait for the next verdict.

        Raises:
            BatcherError: the answer was given up.
        """
        while not self._verdicts:
            if self._error is not None:
                raise self._error
            await self._news.wait()
            self._news.clear()
        return self._verdicts.popleft()

    def _give(self, reason: FinishReason | None) -> None:
        self._verdicts.append(Verdict(ids=tuple(self._ids), finish_reason=reason))
        self._ids.clear()
        self._outbox.post(self._news)

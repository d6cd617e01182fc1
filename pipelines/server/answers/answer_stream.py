"""An answer as it comes: tokens from the batcher's thread become text in the event loop.

Reasoning is told apart from content, half characters and halves of stop strings are held back.
Wake-ups are collected: however many tokens a step brings, the loop is woken once.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from dvse.text.tokenizer import TextTokenizer
from pipelines.answering.incremental_text import IncrementalText
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.server.answers.stop_strings import StopStrings
from pipelines.server.batching.batcher import BatcherError, FinishReason, Sink, Token


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What one token, or the end, added.

    Attributes:
        content, reasoning: text, perhaps none.
        token: the token, where it belongs to the content.
        finish_reason: set on the last one.
    """

    content: str = ""
    reasoning: str = ""
    token: Token | None = None
    finish_reason: FinishReason | None = None


class Outbox:
    """Wakes the event loop for answers that have news."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[asyncio.Event] = deque()
        self._is_called = False
        self._lock = threading.Lock()

    def post(self, event: asyncio.Event) -> None:
        """Set an event in the loop, soon; called from any thread."""
        with self._lock:
            self._ready.append(event)
            if self._is_called:
                return
            self._is_called = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._ready.clear()

    def _deliver(self) -> None:
        with self._lock:
            self._is_called = False
            ready, self._ready = self._ready, deque()
        for event in ready:
            event.set()


class AnswerStream(Sink):
    """Takes tokens in the batcher's thread, gives deltas in the event loop.

    Args:
        text: decodes ids of text.
        legal: knows `<think>` and `</think>`.
        stops: strings that end the answer; they are not part of it.
        outbox: wakes the loop.
        wants_deltas: whether somebody reads along; otherwise one wake-up at the end is enough.

    Attributes:
        num_tokens, num_reasoning: tokens so far, those of reasoning (its marks included).
        first_at, last_at: when its first and its last token came, seconds of `perf_counter`.
        is_over: whether nothing follows.
    """

    def __init__(
        self,
        *,
        text: TextTokenizer,
        legal: LegalTokens,
        stops: Sequence[str],
        outbox: Outbox,
        wants_deltas: bool,
    ) -> None:
        self.num_tokens = self.num_reasoning = 0
        self.first_at = self.last_at = 0.0
        self.is_over = False
        self._growing = IncrementalText(text)
        self._legal = legal
        self._stops = StopStrings(stops)
        self._outbox, self._wants_deltas = outbox, wants_deltas
        self._is_thinking = False
        self._deltas: deque[Delta] = deque()
        self._news = asyncio.Event()
        self._error: BatcherError | None = None

    def push(self, token: Token) -> bool:
        """Take a token; return whether a stop string ends the answer."""
        self.num_tokens += 1
        self.last_at = time.perf_counter()
        self.first_at = self.first_at or self.last_at
        if token.id == self._legal.think_id:
            self._is_thinking = True
        if self._is_thinking:
            self.num_reasoning += 1
            is_mark = token.id in (self._legal.think_id, self._legal.end_think_id)
            piece = "" if is_mark else self._growing.push(token.id)
            if token.id == self._legal.end_think_id:
                self._is_thinking = False
                piece = self._growing.finish()
            self._add(Delta(reasoning=piece))
            return False
        self._add(Delta(content=self._stops.push(self._growing.push(token.id)), token=token))
        return self._stops.has_ended

    def finish(self, reason: FinishReason) -> None:
        """Give out what was held back."""
        rest = "" if self._stops.has_ended else self._growing.finish()
        if self._is_thinking:
            self._deltas.append(Delta(reasoning=rest, finish_reason=reason))
        else:
            rest = "" if self._stops.has_ended else self._stops.push(rest) + self._stops.finish()
            self._deltas.append(Delta(content=rest, finish_reason=reason))
        self._end()

    def fail(self, error: BatcherError) -> None:
        """Raise `error` where the deltas are read."""
        self._error = error
        self._end()

    async def deltas(self) -> AsyncIterator[Delta]:
        """Yield what comes, as it comes.

        Raises:
            BatcherError: the answer was given up.
        """
        while True:
            self._news.clear()
            while self._deltas:
                yield self._deltas.popleft()
            if self.is_over and not self._deltas:
                if self._error is not None:
                    raise self._error
                return
            await self._news.wait()

    def _add(self, delta: Delta) -> None:
        self._deltas.append(delta)
        if self._wants_deltas:
            self._outbox.post(self._news)

    def _end(self) -> None:
        self.is_over = True
        self._outbox.post(self._news)

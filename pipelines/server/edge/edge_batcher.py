"""A batcher whose answers are those of a large model elsewhere, guessed at by a small one here.

The small model says some tokens, the large one keeps those that it would have said and adds one of
its own. So an answer is the large model's, in fewer round trips than it has tokens. Where the link
is down the small model answers, or goes on from where the answer stands.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import torch

from pipelines.server.answers.verification import Verdict
from pipelines.server.batching.batcher import (
    Batcher,
    BatcherError,
    BatcherStats,
    BatcherStoppedError,
    FinishReason,
    GenerationRequest,
    QueueFullError,
    Sampling,
    Sink,
    Token,
)
from pipelines.server.edge.cloud import Cloud, CloudDownError, CloudRefusedError, Link

_LOG = logging.getLogger("dvse.edge")


@dataclass(kw_only=True)
class _Answer:
    """One answer under way.

    Attributes:
        local: the small model's number of it, `None` while the large one is asked.
    """

    request: GenerationRequest
    sink: Sink
    said: list[int] = field(default_factory=list)
    local: int | None = None
    is_cancelled: bool = False

    def rest(self) -> GenerationRequest:
        """What is still to be said, by whomever."""
        return replace(
            self.request,
            prompt_ids=[*self.request.prompt_ids, *self.said],
            begun=self.request.begun + len(self.said),
            max_new_tokens=self.request.max_new_tokens - len(self.said),
        )

    def take(self, verdict: Verdict) -> FinishReason | None:
        """Hand tokens over; return why the answer ends with them, if it does."""
        for token_id in verdict.ids:
            self.said.append(token_id)
            if self.sink.push(Token(id=token_id)):
                return "stop"
        return verdict.finish_reason


class EdgeBatcher(Batcher):
    """Asks the large model, and answers alone where it cannot be asked.

    Log-probabilities, forms (JSON by schema) and guesses from elsewhere are the small model's
    alone: they are not sent.

    Args:
        local: batcher of the small model.
        cloud: the large one.
        num_guessed: tokens of a guess.
        most: answers under way at once.

    Attributes:
        num_trips: round trips to the large model, so far.
    """

    def __init__(self, local: Batcher, cloud: Cloud, *, num_guessed: int, most: int) -> None:
        self.context = local.context
        self._local, self._cloud = local, cloud
        self._num_guessed, self._most = num_guessed, most
        self._answers: dict[int, _Answer] = {}
        self._number = self._drafted = self._accepted = 0
        self.num_trips = 0
        self._is_stopping = False
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="edge")

    @property
    def is_well(self) -> bool:
        """Whether the small model takes requests: it can always answer."""
        return self._local.is_well

    def start(self) -> None:
        """Start the small model."""
        self._local.start()

    def submit(self, request: GenerationRequest, sink: Sink) -> int:
        """Ask the large model, and let the small one guess ahead of it."""
        answer = _Answer(request=request, sink=sink)
        with self._lock:
            if self._is_stopping:
                raise BatcherStoppedError("the server is stopping; try another one")
            if len(self._answers) >= self._most:
                raise QueueFullError(f"{len(self._answers)} answers are under way; try later")
            self._number += 1
            number = self._number
            self._answers[number] = answer
        if request.constraint is None and request.num_logprobs is None and not request.is_drafted:
            self._pool.submit(self._run, number, answer)
        else:
            try:
                self._answer_here(number, answer)
            except BaseException:
                self._forget(number)
                raise
        return number

    def pool(self, ids: list[int], first: int) -> "Future[torch.Tensor]":
        """States are the small model's."""
        return self._local.pool(ids, first)

    def attention(
        self, ids: list[int], first: int, seen: tuple[int, int]
    ) -> "Future[torch.Tensor]":
        """Queue a row for the small model, whose attention it is."""
        return self._local.attention(ids, first, seen)

    def cancel(self, number: int) -> None:
        """Drop a request here; the large model notices that nobody listens."""
        with self._lock:
            answer = self._answers.pop(number, None)
            if answer is not None:
                answer.is_cancelled = True
        if answer is not None and answer.local is not None:
            self._local.cancel(answer.local)

    def offer(self, number: int, draft: Sequence[int]) -> None:
        """Hand guesses from elsewhere to the small model."""
        answer = self._answers.get(number)
        if answer is not None and answer.local is not None:
            self._local.offer(answer.local, draft)

    def stats(self) -> BatcherStats:
        """Those of the small model, and what the large one made of its guesses."""
        with self._lock:
            drafted, accepted = self._drafted, self._accepted
        return replace(self._local.stats(), drafted_tokens=drafted, accepted_tokens=accepted)

    def stop(self, deadline_s: float) -> None:
        """Take no more requests, let the small model finish, fail what is left."""
        with self._lock:
            self._is_stopping = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._local.stop(deadline_s)
        with self._lock:
            left, self._answers = list(self._answers.values()), {}
        for answer in left:
            answer.is_cancelled = True
            answer.sink.fail(
                BatcherStoppedError("the server stopped before the answer was complete")
            )

    def _run(self, number: int, answer: _Answer) -> None:
        try:
            with self._cloud.open() as link:
                self._ask(link, number, answer)
        except CloudDownError as error:
            if isinstance(error, CloudRefusedError):
                _LOG.warning("the large model refuses: %s", error)
            if not answer.is_cancelled:
                self._go_on_here(number, answer)
            return
        except Exception as error:  # whoever waits has to be told
            _LOG.exception("an answer could not be taken")
            self._forget(number)
            answer.sink.fail(BatcherError(f"{type(error).__name__}: {error}"))

    def _ask(self, link: Link, number: int, answer: _Answer) -> None:
        """Guess and ask until the answer is complete."""
        draft = self._guess(answer)
        verdict = link.start(answer.request, draft)
        while not answer.is_cancelled:
            with self._lock:
                self.num_trips += 1
                self._drafted += len(draft)
                self._accepted += verdict.num_accepted(draft)
            if (reason := answer.take(verdict)) is not None:
                _LOG.info("%d tokens in %d round trips", len(answer.said), link.num_trips)
                self._forget(number)
                answer.sink.finish(reason)
                return
            draft = self._guess(answer)
            verdict = link.go_on(draft)

    def _guess(self, answer: _Answer) -> list[int]:
        """Let the small model say the next tokens: the likeliest ones."""
        rest = answer.rest()
        most = min(self._num_guessed, rest.max_new_tokens)
        sink = _Said()
        try:
            self._local.submit(replace(rest, max_new_tokens=most, sampling=Sampling()), sink)
            return sink.wait()
        except (BatcherError, ValueError):
            return []  # the large model answers without a guess as well

    def _go_on_here(self, number: int, answer: _Answer) -> None:
        try:
            self._answer_here(number, answer)
        except BatcherError as error:
            self._forget(number)
            answer.sink.fail(error)

    def _answer_here(self, number: int, answer: _Answer) -> None:
        sink = _Forgetting(answer.sink, lambda: self._forget(number))
        answer.local = self._local.submit(answer.rest(), sink)

    def _forget(self, number: int) -> None:
        with self._lock:
            self._answers.pop(number, None)


class _Said(Sink):
    """Waits for a guess."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._over = threading.Event()

    def push(self, token: Token) -> bool:
        self._ids.append(token.id)
        return False

    def finish(self, reason: FinishReason) -> None:
        self._over.set()

    def fail(self, error: BatcherError) -> None:
        self._over.set()

    def wait(self) -> list[int]:
        self._over.wait()
        return self._ids


class _Forgetting(Sink):
    """Passes everything on, and says when it is over."""

    def __init__(self, sink: Sink, on_end: Callable[[], None]) -> None:
        self._sink, self._on_end = sink, on_end

    def push(self, token: Token) -> bool:
        return self._sink.push(token)

    def settle(self) -> None:
        self._sink.settle()

    def finish(self, reason: FinishReason) -> None:
        self._on_end()
        self._sink.finish(reason)

    def fail(self, error: BatcherError) -> None:
        self._on_end()
        self._sink.fail(error)

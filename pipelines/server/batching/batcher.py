"""The contract of a batcher: prompts of ids in, tokens out, one by one, from a thread of its own.

Knows ids and numbers. It refuses to know text, media, HTTP and JSON.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Literal

import torch

from pipelines.server.batching.constraint import Constraint

FinishReason = Literal["stop", "length"]


class BatcherError(Exception):
    """A request that the batcher does not take or cannot finish."""


class QueueFullError(BatcherError):
    """As many requests wait as may wait."""


class NoContinuationError(BatcherError):
    """Nothing that the answer's constraint allows can be written with this vocabulary."""


class BatcherStoppedError(BatcherError):
    """The batcher stops, or has stopped, before the request was answered."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the likeliest token.
        top_p: the smallest set of tokens with this share of the probability is drawn from.
        top_k: so many of the likeliest are drawn from, 0 for all.
        min_p: tokens below this share of the likeliest one's probability are left out.
        repetition_penalty, frequency_penalty, presence_penalty, logit_bias: see `penalties`.
        seed: makes the draw repeatable, `None` for a random one.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One answer that is wanted.

    Attributes:
        prompt_ids: at least one id.
        max_new_tokens: at least 1; an answer also ends where the context does.
        thinking: the prompt leaves `<think>` open.
        sampling: how tokens are drawn.
        num_logprobs: likeliest tokens listed beside each token, `None` for no log-probabilities.
        constraint: what the answer's text may be, `None` for anything.
        client: requests of one client wait for each other, not for those of others.
        begun: how many of the prompt's last ids are the beginning of this very answer.
        draft: a guess at the first tokens, made elsewhere.
        is_drafted: the guesses come from elsewhere: after each, the answer waits for the next one,
            see `Batcher.offer`.
    """

    prompt_ids: Sequence[int]
    max_new_tokens: int
    thinking: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    num_logprobs: int | None = None
    constraint: Constraint | None = None
    client: str = ""
    begun: int = 0
    draft: tuple[int, ...] = ()
    is_drafted: bool = False


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token of an answer.

    Attributes:
        id: of the shared vocabulary.
        logprob: natural logarithm of its probability before temperature, where asked for.
        top: the likeliest tokens and their log-probabilities, likeliest first, where asked for.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sink(ABC):
    """Takes the tokens of one answer. Called in the batcher's thread; has to be quick."""

    @abstractmethod
    def push(self, token: Token) -> bool:
        """Take the next token and return whether the answer is complete with it."""

    @abstractmethod
    def finish(self, reason: FinishReason) -> None:
        """Learn that no token follows."""

    @abstractmethod
    def fail(self, error: BatcherError) -> None:
        """Learn that the answer was given up."""

    def settle(self) -> None:
        """Learn that a guess is used up, and the answer waits for the next."""
        return


@dataclass(frozen=True, kw_only=True)
class BatcherStats:
    """What a batcher is doing right now.

    Attributes:
        running: answers in the batch, waiting: in the queue.
        cached_tokens: tokens that hold a place in the cache, of `cache_tokens`.
        reused_tokens: prompt tokens that were copied from an earlier prompt, since the start.
        steps: forward passes since the start.
        drafted_tokens: tokens that were guessed, `accepted_tokens` of them rightly.
    """

    running: int
    waiting: int
    cached_tokens: int
    cache_tokens: int
    reused_tokens: int
    steps: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @classmethod
    def sum(cls, parts: "Sequence[BatcherStats]") -> "BatcherStats":
        """Return the sums over several batchers."""
        return cls(**{f.name: sum(getattr(p, f.name) for p in parts) for f in fields(cls)})


class Batcher(ABC):
    """Generates for many requests at once.

    Attributes:
        context: most tokens of a prompt and its answer together.
    """

    context: int

    @property
    @abstractmethod
    def is_well(self) -> bool:
        """Whether it takes requests: started, and neither failed nor told to stop."""

    @abstractmethod
    def start(self) -> None:
        """Begin to work."""

    @abstractmethod
    def submit(self, request: GenerationRequest, sink: Sink) -> int:
        """Queue a request and return its number.

        Raises:
            QueueFullError: too many wait.
            BatcherStoppedError: it takes no more requests.
        """

    @abstractmethod
    def pool(self, ids: list[int], first: int) -> "Future[torch.Tensor]":
        """Queue a row whose states are wanted; cancelling the future drops it.

        Args:
            ids: the row.
            first: the mean is taken from this position on.

        Returns:
            Of the mean of the last hidden states, fp32 `[hidden_size]`.

        Raises:
            QueueFullError, BatcherStoppedError: as for `submit`.
        """

    @abstractmethod
    def attention(
        self, ids: list[int], first: int, seen: tuple[int, int]
    ) -> "Future[torch.Tensor]":
        """Queue a row whose attention is wanted; cancelling the future drops it.

        Args:
            ids: the row, such as a prompt with its answer.
            first: the first position that looks.
            seen: half-open range of positions, before `first`, that are looked at.

        Returns:
            Of the weights, fp32 `[len(ids) - first, seen]`, mean of all heads of the last half of
            the layers (Radford et al., 2022, time words by them).

        Raises:
            QueueFullError, BatcherStoppedError: as for `submit`.
        """

    @abstractmethod
    def cancel(self, number: int) -> None:
        """Drop a request: its place is free before the next step. Unknown numbers are ignored."""

    @abstractmethod
    def offer(self, number: int, draft: Sequence[int]) -> None:
        """Guess the next tokens of an answer that waits for it; unknown numbers are ignored.

        The answer takes those that it would have said, and one token more.
        """

    @abstractmethod
    def stats(self) -> BatcherStats:
        """Return what is going on."""

    @abstractmethod
    def stop(self, deadline_s: float) -> None:
        """Take no more requests, finish the running ones, fail the rest after `deadline_s`."""

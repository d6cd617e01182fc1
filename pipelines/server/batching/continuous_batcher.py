"""Continuous batching in one thread.

A step computes one token of each answer that is under way and, as far as its budget goes, parts of
the prompts that are not: so an answer never waits for somebody's long prompt, and short prompts
pass long ones. Between steps answers leave (ended, cancelled) and requests join, clients in turn.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from itertools import accumulate

import torch

from pipelines.answering.legal_tokens import LegalTokens
from pipelines.server.batching.batcher import (
    Batcher,
    BatcherError,
    BatcherStats,
    BatcherStoppedError,
    GenerationRequest,
    NoContinuationError,
    QueueFullError,
    Sink,
    Token,
)
from pipelines.server.batching.config import BatchingConfig
from pipelines.server.batching.drafter import Drafter
from pipelines.server.batching.fair_queue import FairQueue
from pipelines.server.batching.prefix_pages import PrefixPages
from pipelines.server.batching.row_pass import AttendedRow, PooledRow, RowPass
from pipelines.server.batching.runner import LocalRunner, Runner
from pipelines.server.batching.sampling import Chooser, Sampler
from pipelines.server.batching.sequence import Sequence
from pipelines.server.batching.spans import Spans
from pipelines.server.batching.step_plan import Copy, StepPlan
from pipelines.server.torch_threads import compute_with_all_cores

_LOG = logging.getLogger("dvse.serve")


class ContinuousBatcher(Batcher):
    """One step after another: a token of every answer under way, then parts of prompts.

    Args:
        runner: computes the steps; holds `config.total_tokens`.
        legal: which tokens an answer may consist of.
        context: most tokens of a prompt and its answer together.
        config: sizes.
        drafter: guesses tokens that the runner then only has to check; `None` for no guesses.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        legal: LegalTokens,
        context: int,
        config: BatchingConfig,
        drafter: Drafter | None = None,
    ) -> None:
        self.context = min(context, config.cache_tokens)
        self._runner, self._legal, self._config = runner, legal, config
        self._drafter = drafter
        self._sampler = Sampler(legal, device=runner.device)
        first = LocalRunner.NUM_SCRATCH
        pages_size = config.prefix_pages * config.chunk
        self._pages = PrefixPages(
            page_size=config.chunk, num_pages=config.prefix_pages, start=first
        )
        self._spans = Spans(config.cache_tokens, start=first + pages_size)
        self._waiting: FairQueue[Sequence] = FairQueue()
        self._running: list[Sequence] = []
        self._prefilling: deque[Sequence] = deque()
        self._passes: deque[RowPass] = deque()
        self._cancelled: set[int] = set()
        self._offers: dict[int, tuple[int, ...]] = {}
        self._lock = threading.Condition()
        self._stop_at: float | None = None
        self._number = self._steps = self._reused = 0
        self._drafted = self._accepted = 0
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._failure: Exception | None = None

    @property
    def is_well(self) -> bool:
        """Whether its thread works and takes requests."""
        return self._thread.is_alive() and self._stop_at is None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, request: GenerationRequest, sink: Sink) -> int:
        """Queue a request and return its number.

        Raises:
            ValueError: a prompt that is empty or fills the context.
        """
        length = min(len(request.prompt_ids) + request.max_new_tokens, self.context)
        if not 0 < len(request.prompt_ids) < self.context or request.max_new_tokens < 1:
            raise ValueError(
                f"expected a prompt of 1 to {self.context - 1} ids and room for an answer, "
                f"received {len(request.prompt_ids)} and {request.max_new_tokens}"
            )
        chooser = Chooser(request, self._legal)
        with self._lock:
            self._check_open()
            if len(self._waiting) >= self._config.max_waiting:
                raise QueueFullError(f"{len(self._waiting)} requests wait already; try later")
            self._number += 1
            sequence = Sequence(
                number=self._number, request=request, sink=sink, chooser=chooser, length=length
            )
            self._waiting.push(request.client, sequence)
            self._lock.notify()
            return self._number

    def pool(self, ids: list[int], first: int) -> "Future[torch.Tensor]":
        """Queue a row whose states are wanted, between the steps of answers.

        Raises:
            ValueError: a row that is empty or longer than the context.
        """
        return self._queue(PooledRow(ids=ids, first=first))

    def attention(
        self, ids: list[int], first: int, seen: tuple[int, int]
    ) -> "Future[torch.Tensor]":
        """Queue a row whose attention is wanted, between the steps of answers.

        Raises:
            ValueError: a row that is empty or longer than the context, or sees what comes later.
        """
        if not 0 <= seen[0] < seen[1] <= first:
            raise ValueError(f"expected a range of positions below {first}, received {seen}")
        return self._queue(AttendedRow(ids=ids, first=first, seen=seen))

    def cancel(self, number: int) -> None:
        """Drop a request before the next step."""
        with self._lock:
            self._cancelled.add(number)
            self._lock.notify()

    def offer(self, number: int, draft: Iterable[int]) -> None:
        """Note a guess for the next step; a later one takes its place."""
        with self._lock:
            self._offers[number] = tuple(draft)
            self._lock.notify()

    def stats(self) -> BatcherStats:
        """Count what runs, waits and is cached."""
        with self._lock:
            return BatcherStats(
                running=len(self._running),
                waiting=len(self._waiting),
                cached_tokens=self._config.cache_tokens - self._spans.num_free,
                cache_tokens=self._config.cache_tokens,
                reused_tokens=self._reused,
                steps=self._steps,
                drafted_tokens=self._drafted,
                accepted_tokens=self._accepted,
            )

    def stop(self, deadline_s: float) -> None:
        """Finish or fail what runs; return when the thread has ended."""
        with self._lock:
            self._stop_at = time.monotonic() + deadline_s
            self._lock.notify()
        if self._thread.ident is not None:
            self._thread.join(deadline_s + 30.0)

    def _queue(self, row: RowPass) -> "Future[torch.Tensor]":
        if not 0 <= row.first < len(row.ids) <= self.context:
            raise ValueError(f"expected 1 to {self.context} ids, received {len(row.ids)}")
        with self._lock:
            self._check_open()
            if len(self._passes) >= self._config.max_waiting:
                raise QueueFullError(f"{len(self._passes)} rows wait already; try later")
            self._passes.append(row)
            self._lock.notify()
        return row.future

    def _check_open(self) -> None:
        if self._failure is not None or self._stop_at is not None:
            raise BatcherStoppedError("the server is stopping; try another one")

    def _work(self) -> None:
        compute_with_all_cores()
        try:
            while self._wait_for_work():
                plan, sequences = self._plan()
                logits = self._runner.step(plan)
                self._take(logits, sequences)
                self._pass_a_part()
        except Exception as error:  # whoever waits has to be told
            self._failure = error
            _LOG.exception("the batcher failed")
            self._fail_all(BatcherError(f"the batcher failed: {type(error).__name__}: {error}"))
        finally:
            self._runner.close()

    def _wait_for_work(self) -> bool:
        """Let requests join and leave; sleep while there are none; false when all is over."""
        with self._lock:
            while True:
                self._drop_cancelled()
                self._take_offers()
                if self._stop_at is not None:
                    self._fail_waiting()
                    if not self._running or time.monotonic() > self._stop_at:
                        break
                self._admit()
                if self._passes or any(s.is_asked for s in self._running):
                    return True
                self._lock.wait()
        self._fail_all(BatcherStoppedError("the server stopped before the answer was complete"))
        return False

    def _drop_cancelled(self) -> None:
        if not self._cancelled:
            return
        self._waiting.remove(lambda sequence: sequence.number in self._cancelled)
        for sequence in [s for s in self._running if s.number in self._cancelled]:
            self._leave(sequence)
        self._cancelled.clear()

    def _take_offers(self) -> None:
        """Let those go on whose next guess has come."""
        for sequence in self._running:
            if not sequence.is_asked and sequence.number in self._offers:
                sequence.draft.extend(self._offers.pop(sequence.number))
                sequence.is_asked = True
        numbers = {s.number for s in self._running}
        self._offers = {n: draft for n, draft in self._offers.items() if n in numbers}

    def _admit(self) -> None:
        while len(self._waiting) and len(self._running) < self._config.max_running:
            sequence = self._waiting.peek()
            start = self._spans.take(sequence.length)
            if start is None:
                return  # it is its turn: room will come, and nobody overtakes it
            self._waiting.pop()
            sequence.start = start
            self._running.append(sequence)
            self._prefilling.append(sequence)

    def _pass_a_part(self) -> None:
        """Compute one part of the first row that waits: answers under way wait for no more."""
        if not self._passes:
            return
        row = self._passes[0]
        start = self._spans.take(len(row.ids)) if row.start is None else row.start
        if start is None:
            return  # room will come
        if row.start is None and not row.future.set_running_or_notify_cancel():
            self._spans.give_back(start, len(row.ids))
            self._passes.popleft()
            return
        row.start = start
        row.compute_part(self._runner, self._config.chunk)
        if row.is_computed:
            self._spans.give_back(start, len(row.ids))
            self._passes.popleft()
            row.future.set_result(row.result())

    def _plan(self) -> tuple[StepPlan, list[Sequence]]:
        """One token of each answer under way, then parts of prompts, one of each in turn."""
        plan = StepPlan()
        kept: list[Sequence] = []
        decoding = [s for s in self._running if s.is_decoding and s.is_asked]
        if self._drafter is not None:
            self._drafter.draft(s for s in decoding if not s.request.is_drafted)
        for sequence in decoding:
            self._drafted += sequence.add_token(plan) - 1
            kept.append(sequence)
        passed: deque[Sequence] = deque()
        while len(plan.ids) < self._config.step_tokens and (self._prefilling or passed):
            if not self._prefilling:
                self._prefilling, passed = passed, deque()
            sequence = self._prefilling.popleft()
            if not sequence.computed:
                self._reuse(sequence, plan)
            if sequence.add_chunk(plan, self._config.chunk):
                kept.append(sequence)
            else:
                passed.append(sequence)
        self._prefilling.extend(passed)
        return plan, kept

    def _reuse(self, sequence: Sequence, plan: StepPlan) -> None:
        for place in self._pages.find(sequence.prompt):
            plan.copies.append(
                Copy(
                    source=place,
                    target=sequence.start + sequence.computed,
                    length=self._pages.page_size,
                )
            )
            sequence.computed += self._pages.page_size
        self._reused += sequence.computed

    def _take(self, logits: torch.Tensor, sequences: list[Sequence]) -> None:
        """Give each answer its token, and those after it that were guessed; those that end leave.

        Args:
            logits: of each answer's row, and of the rows of its guess behind it.
        """
        self._steps += 1
        copies: list[Copy] = []
        rows = accumulate((1 + s.num_guessed for s in sequences), initial=0)
        turn = list(zip(rows, sequences, strict=False))
        while turn:
            chosen = logits if len(turn) == len(logits) else logits[[row for row, _ in turn]]
            tokens = self._sampler.choose(chosen, [s.chooser for _, s in turn])
            going_on = []
            for (row, sequence), token in zip(turn, tokens, strict=True):
                if not sequence.generated:
                    copies += self._pages_of(sequence)
                if self._say(sequence, token):
                    going_on.append((row + 1, sequence))
            self._accepted += len(going_on)
            turn = going_on
        self._settle(sequences)
        if copies:
            self._runner.step(StepPlan(copies=copies))

    def _pages_of(self, sequence: Sequence) -> list[Copy]:
        """What of a prompt that is computed is kept for others."""
        return [
            Copy(source=sequence.start + position, target=place, length=self._pages.page_size)
            for position, place in self._pages.add(sequence.prompt)
        ]

    def _say(self, sequence: Sequence, token: Token | None) -> bool:
        """Add a token to an answer; return whether the step has computed what follows it."""
        if token is None:
            self._give_up(sequence)
            return False
        is_computed = sequence.push(token.id)
        if self._hand_over(sequence, token):
            with self._lock:
                self._leave(sequence)
            return False
        return is_computed

    def _settle(self, sequences: list[Sequence]) -> None:
        """Let those wait whose guess, from elsewhere, is used up: their last token is their own."""
        for sequence in sequences:
            is_waiting = sequence.request.is_drafted and not sequence.was_guessed
            if is_waiting and sequence in self._running:
                sequence.is_asked = False
                sequence.sink.settle()

    def _hand_over(self, sequence: Sequence, token: Token) -> bool:
        """Give an answer its token and return whether it has ended."""
        try:
            if token.id in self._legal.stop_ids or sequence.sink.push(token):
                sequence.sink.finish("stop")
            elif sequence.is_full:
                sequence.sink.finish("length")
            else:
                return False
        except Exception as error:  # one broken answer must not cost the others
            _LOG.exception("an answer could not be taken")
            sequence.sink.fail(BatcherError(f"the answer could not be written: {error}"))
        return True

    def _give_up(self, sequence: Sequence) -> None:
        sequence.sink.fail(NoContinuationError("what was asked for cannot be written"))
        with self._lock:
            self._leave(sequence)

    def _leave(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        if self._drafter is not None:
            self._drafter.forget(sequence.number)
        if sequence in self._prefilling:
            self._prefilling.remove(sequence)
        self._spans.give_back(sequence.start, sequence.length)

    def _fail_waiting(self) -> None:
        for sequence in [*self._waiting, *(s for s in self._running if not s.is_asked)]:
            sequence.sink.fail(BatcherStoppedError("the server is stopping; try another one"))
        self._waiting.remove(lambda sequence: True)
        for sequence in [s for s in self._running if not s.is_asked]:
            self._leave(sequence)

    def _fail_all(self, error: BatcherError) -> None:
        with self._lock:
            for sequence in [*self._running, *self._waiting]:
                sequence.sink.fail(error)
            self._waiting.remove(lambda sequence: True)
            while self._passes:
                self._passes.popleft().fail(error)
            for sequence in list(self._running):
                self._leave(sequence)

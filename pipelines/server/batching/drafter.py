"""A small model that guesses what a large one will say next: speculative decoding.

The large model computes a guess of several tokens in one step and keeps those that it would have
said itself, so its answers are the same, in fewer steps where the guesses are good. Both models
read the same vocabulary. Source: Leviathan et al., 2023, "Fast Inference from Transformers via
Speculative Decoding", with the greedy guess of section 3.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from pipelines.answering.legal_tokens import LegalTokens
from pipelines.server.batching.runner import LocalRunner, Runner
from pipelines.server.batching.sequence import Sequence
from pipelines.server.batching.spans import Spans
from pipelines.server.batching.step_plan import StepPlan

_PART = 256  # ids of a prompt that are read at once: nobody waits for a longer one


class Drafter(ABC):
    """Guesses the next tokens of answers under way; called in the batcher's thread."""

    @abstractmethod
    def draft(self, sequences: Iterable[Sequence]) -> None:
        """Put a guess into each sequence's `draft`, or leave it empty."""

    @abstractmethod
    def forget(self, number: int) -> None:
        """Learn that an answer is over."""


@dataclass(kw_only=True)
class _Read:
    """What the small model has read of one answer.

    Attributes:
        start, length: its span of the cache.
        ids: the ids whose keys and values are there.
    """

    start: int
    length: int
    ids: list[int] = field(default_factory=list)

    def rest_of(self, ids: list[int]) -> list[int]:
        """Keep what is still true, and return what has to be read on."""
        same = 0
        for mine, theirs in zip(self.ids, ids[:-1], strict=False):
            if mine != theirs:
                break
            same += 1
        del self.ids[same:]
        return ids[same:]


class ModelDrafter(Drafter):
    """Guesses with a decoder, the likeliest legal token each time.

    Args:
        runner: of the small decoder; holds `cache_tokens`.
        legal: which tokens an answer may consist of.
        cache_tokens: tokens that its cache holds; answers without room get no guess.
        num_tokens: tokens of a guess.
    """

    def __init__(
        self, runner: Runner, *, legal: LegalTokens, cache_tokens: int, num_tokens: int
    ) -> None:
        self._runner, self._legal, self._num_tokens = runner, legal, num_tokens
        self._spans = Spans(cache_tokens, start=LocalRunner.NUM_SCRATCH)
        self._read: dict[int, _Read] = {}
        shut = torch.full(legal.allowed.shape, -torch.inf)
        self._penalty = shut.masked_fill(legal.allowed, 0.0).to(runner.device)

    def draft(self, sequences: Iterable[Sequence]) -> None:
        """Guess with the small model, which all answers go through side by side."""
        placed = [(s, read) for s in sequences if s.room > 0 and (read := self._place(s))]
        fed = {s.number: read.rest_of([*s.prompt, *s.answer]) for s, read in placed}
        found = self._read_on(placed, fed)
        phases = {s.number: s.chooser.phase for s, _ in found}
        for _ in range(self._num_tokens):
            found = [(s, read) for s, read in found if len(s.draft) < s.room]
            if not found:
                return
            plan = StepPlan()
            for sequence, read in found:
                ids = fed[sequence.number]
                first = len(read.ids)
                plan.add_run(ids, first_position=first, start=read.start, keep_last=True)
                read.ids += ids
            logits = self._runner.step(plan)
            scores = logits + self._penalty[[int(phases[s.number]) for s, _ in found]]
            for (sequence, _), token in zip(found, scores.argmax(-1).tolist(), strict=True):
                sequence.draft.append(token)
                fed[sequence.number] = [token]
                phases[sequence.number] = self._legal.after(phases[sequence.number], token)

    def forget(self, number: int) -> None:
        """Give back the pages of an answer that is over."""
        read = self._read.pop(number, None)
        if read is not None:
            self._spans.give_back(read.start, read.length)

    def _read_on(
        self, placed: list[tuple[Sequence, _Read]], fed: dict[int, list[int]]
    ) -> list[tuple[Sequence, _Read]]:
        """Read a part of each long prompt, and return the answers that can be guessed at."""
        plan = StepPlan()
        for sequence, read in placed:
            if len(fed[sequence.number]) > _PART:
                part = fed[sequence.number][:_PART]
                first = len(read.ids)
                plan.add_run(part, first_position=first, start=read.start, keep_last=False)
                read.ids += part
        if plan.ids:
            self._runner.step(plan)
        return [(s, read) for s, read in placed if len(fed[s.number]) <= _PART]

    def _place(self, sequence: Sequence) -> _Read | None:
        read = self._read.get(sequence.number)
        if read is None:
            start = self._spans.take(sequence.length)
            if start is None:
                return None
            read = self._read[sequence.number] = _Read(start=start, length=sequence.length)
        return read

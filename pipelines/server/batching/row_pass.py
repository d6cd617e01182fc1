"""A row that is computed for what the layers make of it, and not for an answer.

It goes through the model part by part, like a prompt, so answers under way wait for no more than a
part of it.
"""

from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from pipelines.server.batching.batcher import BatcherError
from pipelines.server.batching.runner import Runner
from pipelines.server.batching.step_plan import StepPlan, Watch


@dataclass(kw_only=True, eq=False)
class RowPass(ABC):
    """One row.

    Attributes:
        ids: the row.
        first: position of the first row of the result.
        future: of the result.
        start: where its span of the cache begins, `None` before it has one.
        computed: positions whose keys and values are in the cache.
    """

    ids: list[int]
    first: int
    future: "Future[torch.Tensor]" = field(default_factory=Future)
    start: int | None = None
    computed: int = 0

    @property
    def is_computed(self) -> bool:
        """Whether nothing is left to compute."""
        return self.computed == len(self.ids)

    def compute_part(self, runner: Runner, chunk: int) -> None:
        """Compute the next part; parts end where those of prompts do."""
        assert self.start is not None
        plan = StepPlan()
        stop = min((self.computed // chunk + 1) * chunk, len(self.ids))
        part = self.ids[self.computed : stop]
        plan.add_run(part, first_position=self.computed, start=self.start, keep_last=False)
        self._run(runner, plan, max(self.first - self.computed, 0))
        self.computed = stop

    @abstractmethod
    def result(self) -> torch.Tensor:
        """Return what was asked for, in main memory."""

    def fail(self, error: BatcherError) -> None:
        """Tell whoever waits that nothing comes."""
        if not self.future.done():
            self.future.set_exception(error)

    @abstractmethod
    def _run(self, runner: Runner, plan: StepPlan, wanted_from: int) -> None:
        """Compute a part and keep what its rows, from `wanted_from` on, add to the result."""


@dataclass(kw_only=True, eq=False)
class PooledRow(RowPass):
    """The mean of the last hidden states, fp32 `[hidden_size]`, from position `first` on."""

    _sum: torch.Tensor | None = None

    def result(self) -> torch.Tensor:
        """Return the mean state, `[hidden_size]`."""
        assert self._sum is not None
        return (self._sum / (len(self.ids) - self.first)).cpu()

    def _run(self, runner: Runner, plan: StepPlan, wanted_from: int) -> None:
        wanted = runner.states(plan)[wanted_from:].sum(0)
        self._sum = wanted if self._sum is None else self._sum + wanted


@dataclass(kw_only=True, eq=False)
class AttendedRow(RowPass):
    """How much each position from `first` on looks at those of `seen`, fp32 `[positions, seen]`.

    Attributes:
        seen: half-open range of positions before `first`.
    """

    seen: tuple[int, int]
    _parts: list[torch.Tensor] = field(default_factory=list)

    def result(self) -> torch.Tensor:
        """Return how much each position looks at those that are seen."""
        return torch.cat(self._parts).cpu()

    def _run(self, runner: Runner, plan: StepPlan, wanted_from: int) -> None:
        if wanted_from >= len(plan.ids):
            runner.states(plan)
            return
        watch = Watch(first_row=wanted_from, seen=self.seen)
        self._parts.append(runner.attention(plan, watch))

"""A row whose states are wanted, on its way: computed part by part like a prompt, then averaged."""

from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from pipelines.server.batching.batcher import BatcherError
from pipelines.server.batching.step_plan import StepPlan


@dataclass(kw_only=True, eq=False)
class PooledRow:
    """One row.

    Attributes:
        ids: the row; the mean is of the states from position `first` on.
        future: of the mean.
        start: where its span of the cache begins, `None` before it has one.
        computed: positions whose keys and values are in the cache.
    """

    ids: list[int]
    first: int
    future: "Future[torch.Tensor]" = field(default_factory=Future)
    start: int | None = None
    computed: int = 0
    _sum: torch.Tensor | None = None

    @property
    def is_computed(self) -> bool:
        """Whether nothing is left to compute."""
        return self.computed == len(self.ids)

    def add_chunk(self, plan: StepPlan, chunk: int) -> None:
        """Let the step compute the next part; parts end where those of prompts do."""
        assert self.start is not None
        stop = min((self.computed // chunk + 1) * chunk, len(self.ids))
        part = self.ids[self.computed : stop]
        plan.add_run(part, first_position=self.computed, start=self.start, keep_last=False)

    def take(self, states: torch.Tensor) -> None:
        """Take the states `[rows, hidden_size]` of the part that was added."""
        wanted = states[max(self.first - self.computed, 0) :].sum(0)
        self._sum = wanted if self._sum is None else self._sum + wanted
        self.computed += len(states)

    def mean(self) -> torch.Tensor:
        """Return the mean, fp32 `[hidden_size]` in main memory."""
        assert self._sum is not None
        return (self._sum / (len(self.ids) - self.first)).cpu()

    def fail(self, error: BatcherError) -> None:
        """Tell whoever waits that nothing comes."""
        if not self.future.done():
            self.future.set_exception(error)

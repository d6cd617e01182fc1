"""One answer on its way: what of its prompt is computed, what has come out."""

from dataclasses import dataclass, field

from pipelines.server.batching.batcher import GenerationRequest, Sink
from pipelines.server.batching.sampling import Chooser
from pipelines.server.batching.step_plan import StepPlan


@dataclass(kw_only=True, eq=False)
class Sequence:
    """A request in the batch.

    Attributes:
        number: the batcher's name for it.
        length: tokens that its span holds: the prompt and all it may generate.
        start: where its span begins.
        computed: tokens whose keys and values are in the cache.
        last: the token that came out last.
        generated: how many came out.
    """

    number: int
    request: GenerationRequest
    sink: Sink
    chooser: Chooser
    length: int
    start: int = 0
    computed: int = 0
    last: int = 0
    generated: int = 0
    prompt: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.prompt = list(self.request.prompt_ids)

    @property
    def is_decoding(self) -> bool:
        """Whether the prompt is computed."""
        return self.computed >= len(self.prompt)

    @property
    def is_full(self) -> bool:
        """Whether no further token fits."""
        return self.generated >= self.length - len(self.prompt)

    def add_token(self, plan: StepPlan) -> None:
        """Let the step compute the last token."""
        plan.add_run([self.last], first_position=self.computed, start=self.start, keep_last=True)
        self.computed += 1

    def add_chunk(self, plan: StepPlan, chunk: int) -> bool:
        """Let the step compute the next part of the prompt; return whether that was the last.

        Parts end at multiples of `chunk`, whatever else the step does: shapes, and so bits, depend
        on the prompt alone.
        """
        stop = min((self.computed // chunk + 1) * chunk, len(self.prompt))
        is_last = stop == len(self.prompt)
        plan.add_run(
            self.prompt[self.computed : stop],
            first_position=self.computed,
            start=self.start,
            keep_last=is_last,
        )
        self.computed = stop
        return is_last

"""One answer on its way: what of its prompt is computed, what has come out."""

from collections import deque
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
        answer: all that came out.
        draft: a guess at what comes out next.
        num_guessed: rows of the step behind the answer's own that are not taken yet.
        was_guessed: whether the last token was.
        is_asked: whether the next token is wanted now; false while a guess is waited for.
    """

    number: int
    request: GenerationRequest
    sink: Sink
    chooser: Chooser
    length: int
    start: int = 0
    computed: int = 0
    last: int = 0
    answer: list[int] = field(default_factory=list)
    draft: deque[int] = field(default_factory=deque)
    is_asked: bool = True
    prompt: list[int] = field(init=False)
    num_guessed: int = 0
    was_guessed: bool = False

    def __post_init__(self) -> None:
        self.prompt = list(self.request.prompt_ids)
        self.draft.extend(self.request.draft)

    @property
    def is_decoding(self) -> bool:
        """Whether the prompt is computed."""
        return self.computed >= len(self.prompt)

    @property
    def generated(self) -> int:
        """How many tokens came out."""
        return len(self.answer)

    @property
    def is_full(self) -> bool:
        """Whether no further token fits."""
        return self.generated >= self.length - len(self.prompt)

    @property
    def room(self) -> int:
        """How many guessed tokens fit before the last one."""
        return self.length - len(self.prompt) - self.generated - 1

    def add_token(self, plan: StepPlan) -> int:
        """Let the step compute the last token and what is guessed behind it; return the rows.

        Each row is a run of its own, so it has the shape, and the bits, of a step without guesses.
        """
        while len(self.draft) > self.room:
            self.draft.pop()
        for offset, token in enumerate((self.last, *self.draft)):
            first = self.computed + offset
            plan.add_run([token], first_position=first, start=self.start, keep_last=True)
        self.computed += 1
        self.num_guessed = len(self.draft)
        return 1 + self.num_guessed

    def push(self, token_id: int) -> bool:
        """Take the token that was chosen; return whether this step has computed it, too.

        It has where the token was guessed: its keys and values are then in the cache already.
        """
        self.last = token_id
        self.answer.append(token_id)
        self.chooser.push(token_id)
        self.was_guessed = bool(self.draft) and self.draft.popleft() == token_id
        if not self.was_guessed:
            self.draft.clear()
            self.num_guessed = 0
            return False
        if not self.num_guessed:  # the guess stands behind a prompt: this step had no row for it
            return False
        self.num_guessed -= 1
        self.computed += 1
        return True

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

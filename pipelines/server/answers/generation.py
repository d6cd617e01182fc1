"""From a row of items to answers: encode, submit, and give up what nobody waits for any more."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from dvse.encoding import Encoding
from dvse.errors import PromptTooLongError
from dvse.items import Item
from pipelines.server.answers.answer_form import AnswerForm
from pipelines.server.answers.answer_stream import AnswerStream, Outbox
from pipelines.server.answers.constraints import Constraints
from pipelines.server.answers.prompt_encoder import PromptEncoder
from pipelines.server.batching.batcher import FinishReason, GenerationRequest, Token
from pipelines.server.batching.constraint import Constraint
from pipelines.server.caller import Caller
from pipelines.server.errors import ApiError
from pipelines.server.metrics import Metrics
from pipelines.server.schemas.base import CompletionDetails, PromptDetails, Usage
from pipelines.server.schemas.generation import GenerationFields
from pipelines.server.served_model import ServedModel
from pipelines.server.settings import ServerSettings

_DEFAULT_TEMPERATURE = 1.0


@dataclass(kw_only=True)
class Generation:
    """The answers to one request, under way.

    Attributes:
        prompt: its ids.
        answers: `n` of them.
    """

    prompt: Encoding
    answers: list[AnswerStream]
    numbers: list[int] = field(default_factory=list)

    def usage(self) -> Usage:
        """Count, exactly, what was read and written so far."""
        counts = {"image": 0, "audio": 0}
        for span in self.prompt.spans:
            if span.modality in counts:
                counts[span.modality] += span.stop - span.start
        num_prompt = len(self.prompt)
        num_answers = sum(answer.num_tokens for answer in self.answers)
        return Usage(
            prompt_tokens=num_prompt,
            completion_tokens=num_answers,
            total_tokens=num_prompt + num_answers,
            prompt_tokens_details=PromptDetails(
                image_tokens=counts["image"],
                audio_tokens=counts["audio"],
                text_tokens=num_prompt - counts["image"] - counts["audio"],
            ),
            completion_tokens_details=CompletionDetails(
                reasoning_tokens=sum(answer.num_reasoning for answer in self.answers)
            ),
        )


@dataclass(frozen=True, kw_only=True)
class WholeAnswer:
    """One answer, complete."""

    content: str
    reasoning: str
    tokens: Sequence[Token]
    finish_reason: FinishReason

    @classmethod
    async def of(cls, answer: AnswerStream) -> "WholeAnswer":
        """Wait for the end of an answer.

        Raises:
            BatcherError: it was given up.
        """
        deltas = [delta async for delta in answer.deltas()]
        reason = deltas[-1].finish_reason
        assert reason is not None
        return cls(
            content="".join(delta.content for delta in deltas),
            reasoning="".join(delta.reasoning for delta in deltas),
            tokens=[delta.token for delta in deltas if delta.token is not None],
            finish_reason=reason,
        )


class Generator:
    """What the endpoints ask for answers.

    Args:
        model: tokenizer, legal tokens, batcher.
        settings: defaults and limits.
        encoder: makes prompts.
        metrics: counts.
        outbox: wakes the event loop.
    """

    def __init__(
        self,
        model: ServedModel,
        settings: ServerSettings,
        encoder: PromptEncoder,
        metrics: Metrics,
        outbox: Outbox,
    ) -> None:
        self._model, self._settings = model, settings
        self._encoder, self._metrics, self._outbox = encoder, metrics, outbox
        self._constraints = Constraints(model.tokenizer.text, model.legal)

    @asynccontextmanager
    async def generate(
        self,
        row: Callable[[], Sequence[Item]],
        fields: GenerationFields,
        *,
        client: Caller,
        form: AnswerForm | None = None,
        num_logprobs: int | None = None,
        field: str = "messages",
    ) -> AsyncIterator[Generation]:
        """Submit a request; leaving the context drops what is not finished.

        Args:
            row: makes the row of the prompt; called away from the event loop.
            fields: what all requests share.
            client: whose turn it is.
            form: what the answer has to look like, `None` for any text.
            num_logprobs: as in `GenerationRequest`.
            field: what the client calls the prompt.

        Raises:
            ApiError: 400, a prompt that is too long.
            InputError: an item that cannot be read, a form that cannot be kept to.
            BatcherError: the batcher takes no more.
        """
        started = time.perf_counter()
        batcher, num_answers = self._model.batcher, fields.n or 1

        def prepare() -> tuple[Encoding, Sequence[Constraint | None]]:
            constraints: Sequence[Constraint | None] = [None] * num_answers
            if form is not None:
                constraints = self._constraints.compile(form, num_answers)
            return self._encoder.encode(row(), max_tokens=batcher.context - 1), constraints

        try:
            prompt, constraints = await self._encoder.run(prepare)
        except PromptTooLongError as error:
            raise ApiError(400, str(error), code="context_length_exceeded", param=field) from None
        answers = [self._stream(fields) for _ in range(num_answers)]
        generation = Generation(prompt=prompt, answers=answers)
        try:
            for index, answer in enumerate(answers):
                request = self._request(prompt, fields, index, constraints[index])
                request = replace(request, num_logprobs=num_logprobs, client=client.name)
                generation.numbers.append(batcher.submit(request, answer))
            client.record.model = fields.model
            client.record.prompt_tokens += len(prompt)
            self._metrics.prompt_tokens.inc(len(prompt))
            self._metrics.batch_size.observe(batcher.stats().running)
            yield generation
        finally:
            for number, answer in zip(generation.numbers, answers, strict=False):
                if not answer.is_over:
                    batcher.cancel(number)
                self._metrics.observe(answer, started=started)
                client.record.completion_tokens += answer.num_tokens
                if answer.num_tokens and client.record.first_token_s is None:
                    client.record.first_token_s = answer.first_at - started

    def _stream(self, fields: GenerationFields) -> AnswerStream:
        return AnswerStream(
            text=self._model.tokenizer.text,
            legal=self._model.legal,
            stops=fields.stops,
            outbox=self._outbox,
            wants_deltas=bool(fields.stream),
        )

    def _request(
        self,
        prompt: Encoding,
        fields: GenerationFields,
        index: int,
        constraint: Constraint | None,
    ) -> GenerationRequest:
        """The request of one answer; each draws numbers of its own."""
        wanted = fields.max_completion_tokens or fields.max_tokens
        seed = None if fields.seed is None else fields.seed + index
        sampling = fields.sampling(
            default_temperature=_DEFAULT_TEMPERATURE, vocab_size=self._model.legal.vocab_size
        )
        return GenerationRequest(
            prompt_ids=prompt.ids.tolist(),
            max_new_tokens=wanted or self._settings.default_max_tokens,
            thinking=fields.may_think,
            sampling=replace(sampling, seed=seed),
            constraint=constraint,
        )

"""From a row of items to answers: encode, submit, and give up what nobody waits for any more."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dvse.encoding import Encoding
from dvse.items import Item
from pipelines.answering.prompts import too_long
from pipelines.server.answers.answer_stream import AnswerStream, Outbox
from pipelines.server.answers.json_constraint import JsonConstraints
from pipelines.server.answers.prompt_encoder import PromptEncoder
from pipelines.server.batching.batcher import FinishReason, GenerationRequest, Sampling, Token
from pipelines.server.metrics import Metrics
from pipelines.server.schemas.base import (
    CompletionDetails,
    GenerationFields,
    JsonSchemaFormat,
    PromptDetails,
    TextFormat,
    Usage,
)
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
        self._constraints = JsonConstraints(model.tokenizer.text, model.legal)

    @asynccontextmanager
    async def generate(
        self,
        row: Callable[[], Sequence[Item]],
        fields: GenerationFields,
        *,
        client: str,
        num_logprobs: int | None = None,
    ) -> AsyncIterator[Generation]:
        """Submit a request; leaving the context drops what is not finished.

        Args:
            row: makes the row of the prompt; called away from the event loop.
            fields: what all requests share.
            client: whose turn it is.
            num_logprobs: as in `GenerationRequest`.

        Raises:
            InputError: an item that cannot be read, a prompt that is too long, a bad format.
            BatcherError: the batcher takes no more.
        """
        started = time.perf_counter()
        prompt = await self._encoder.run(lambda: self._encoder.encode(row()))
        batcher = self._model.batcher
        if len(prompt) >= batcher.context:
            raise too_long(len(prompt), batcher.context)
        num_answers = fields.n or 1
        answers = [
            AnswerStream(
                text=self._model.tokenizer.text,
                legal=self._model.legal,
                stops=fields.stops,
                outbox=self._outbox,
                wants_deltas=bool(fields.stream),
            )
            for _ in range(num_answers)
        ]
        generation = Generation(prompt=prompt, answers=answers)
        ids = prompt.ids.tolist()
        try:
            for index, answer in enumerate(answers):
                request = self._request(ids, fields, index, client, num_logprobs)
                generation.numbers.append(batcher.submit(request, answer))
            self._metrics.prompt_tokens.inc(len(prompt))
            self._metrics.batch_size.observe(batcher.stats().running)
            yield generation
        finally:
            for number, answer in zip(generation.numbers, answers, strict=False):
                if not answer.is_over:
                    batcher.cancel(number)
                self._metrics.observe(answer, started=started)

    def _request(
        self,
        ids: list[int],
        fields: GenerationFields,
        index: int,
        client: str,
        num_logprobs: int | None,
    ) -> GenerationRequest:
        wanted = fields.max_completion_tokens or fields.max_tokens
        form = fields.response_format
        constraint = None
        if form is not None and not isinstance(form, TextFormat):
            schema = form.json_schema.schema_ if isinstance(form, JsonSchemaFormat) else None
            constraint = self._constraints.for_schema(schema)
        temperature = _DEFAULT_TEMPERATURE if fields.temperature is None else fields.temperature
        return GenerationRequest(
            prompt_ids=ids,
            max_new_tokens=wanted or self._settings.default_max_tokens,
            thinking=bool(fields.enable_thinking),
            sampling=Sampling(
                temperature=temperature,
                top_p=1.0 if fields.top_p is None else fields.top_p,
                seed=None if fields.seed is None else fields.seed + index,
            ),
            num_logprobs=num_logprobs,
            constraint=constraint,
            client=client,
        )

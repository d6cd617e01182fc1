"""`POST /v1/completions`: the text goes on as the decoder would write it, no turn around it."""

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request

from dvse.items import Special, Text
from dvse.special_tokens import GMASK, SOP
from pipelines.server.answers.conversation import text_form
from pipelines.server.answers.event_stream import DONE, EventStream, event, until_hangup
from pipelines.server.answers.generation import Generation, WholeAnswer
from pipelines.server.answers.log_probabilities import shown_token
from pipelines.server.batching.batcher import Token
from pipelines.server.caller import Caller, Client
from pipelines.server.errors import ApiError
from pipelines.server.routes.body_kind import json_body
from pipelines.server.routes.chat import merged
from pipelines.server.routes.json_route import JsonRoute
from pipelines.server.schemas.base import ERROR_RESPONSES, STREAM_RESPONSE, Usage
from pipelines.server.schemas.completions import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
)
from pipelines.server.serving import Row, Serving
from pipelines.server.shelf import Current, Shelf

_DEFAULT_MAX_TOKENS = 16

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post(
    "/completions",
    response_model=Completion,
    responses=STREAM_RESPONSE,
    dependencies=[Depends(json_body)],
)
async def completions(
    body: CompletionRequest, request: Request, shelf: Current, client: Client
) -> Any:
    """Let texts go on, whole or as server-sent events (`stream`)."""
    if body.may_think:
        raise ApiError(400, "expected a chat for thinking; use /v1/chat/completions")
    if body.max_tokens is None and body.max_completion_tokens is None:
        body = body.model_copy(update={"max_tokens": _DEFAULT_MAX_TOKENS})
    if body.stream:
        return EventStream(_events(body, shelf, client))
    return await until_hangup(request, _answer(body, shelf, client))


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """All prompts of a request, under way."""

    serving: Serving
    prompts: Sequence[str]
    generations: Sequence[Generation]

    def usage(self) -> Usage:
        return Usage.sum([generation.usage() for generation in self.generations])


@asynccontextmanager
async def _batch(body: CompletionRequest, shelf: Shelf, client: Caller) -> AsyncIterator[_Batch]:
    async with AsyncExitStack() as stack:
        serving = (await stack.enter_async_context(shelf.open(body.model))).serving
        prompts = _prompts(body, serving)
        generations = [
            await stack.enter_async_context(
                serving.generator.generate(
                    partial(_row, prompt),
                    body,
                    client=client,
                    form=text_form(body),
                    num_logprobs=body.logprobs,
                    field="prompt",
                )
            )
            for prompt in prompts
        ]
        yield _Batch(serving=serving, prompts=prompts, generations=generations)


def _row(prompt: str) -> Row:
    return Special(GMASK), Special(SOP), Text(prompt)


def _prompts(body: CompletionRequest, serving: Serving) -> list[str]:
    given: Any = body.prompt
    entries = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    text = serving.model.tokenizer.text
    if any(isinstance(entry, list) and max(entry) >= text.size for entry in entries):
        raise ApiError(
            400, f"prompt: expected ids of this model's text, below {text.size}", param="prompt"
        )
    return [entry if isinstance(entry, str) else text.decode(entry) for entry in entries]


async def _answer(body: CompletionRequest, shelf: Shelf, client: Caller) -> Completion:
    async with _batch(body, shelf, client) as batch:
        choices: list[CompletionChoice] = []
        for prompt, generation in zip(batch.prompts, batch.generations, strict=True):
            head = prompt if body.echo else ""
            for stream in generation.answers:
                answer = await WholeAnswer.of(stream)
                choices.append(
                    CompletionChoice(
                        index=len(choices),
                        text=head + answer.content,
                        logprobs=None
                        if body.logprobs is None
                        else _logprobs(answer.tokens, len(head), batch.serving),
                        finish_reason=answer.finish_reason,
                    )
                )
        return Completion(
            id=_new_id(),
            created=int(time.time()),
            model=body.model,
            choices=choices,
            usage=batch.usage(),
            system_fingerprint=batch.serving.fingerprint,
        )


async def _events(
    body: CompletionRequest, shelf: Shelf, client: Caller
) -> AsyncGenerator[bytes, None]:
    async with _batch(body, shelf, client) as batch:
        frame: dict[str, Any] = {
            "id": _new_id(),
            "object": "text_completion",
            "created": int(time.time()),
            "model": body.model,
            "system_fingerprint": batch.serving.fingerprint,
        }
        streams = [stream for generation in batch.generations for stream in generation.answers]
        offsets = [0] * len(streams)
        if body.echo:
            heads = [p for p in batch.prompts for _ in range(body.n or 1)]
            offsets = [len(head) for head in heads]
            for index, head in enumerate(heads):
                yield event(frame | {"choices": [_choice(index, head)]})
        async for index, delta in merged(streams):
            logprobs = None
            if body.logprobs is not None and delta.token is not None:
                logprobs = _logprobs([delta.token], offsets[index], batch.serving).model_dump()
            offsets[index] += len(delta.content)
            if delta.content or delta.finish_reason or logprobs:
                choice = _choice(index, delta.content)
                choice |= {"logprobs": logprobs, "finish_reason": delta.finish_reason}
                yield event(frame | {"choices": [choice]})
        if body.stream_options and body.stream_options.include_usage:
            yield event(frame | {"choices": [], "usage": batch.usage().model_dump()})
    yield DONE


def _choice(index: int, text: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": None}


def _logprobs(tokens: Sequence[Token], offset: int, serving: Serving) -> CompletionLogprobs:
    text = serving.model.tokenizer.text
    found = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    for token in tokens:
        shown = shown_token(token.id, token.logprob or 0.0, text)
        top = [shown_token(i, logprob, text) for i, logprob in token.top]
        found.tokens.append(shown.token)
        found.token_logprobs.append(shown.logprob)
        found.top_logprobs.append({entry.token: entry.logprob for entry in top})
        found.text_offset.append(offset)
        offset += len(shown.token)
    return found


def _new_id() -> str:
    return f"cmpl-{uuid.uuid4().hex}"

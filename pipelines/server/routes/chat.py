"""`POST /v1/chat/completions`."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request

from dvse.chat import render
from dvse.text.tokenizer import TextTokenizer
from pipelines.server.answers.answer_stream import AnswerStream, Delta
from pipelines.server.answers.event_stream import DONE, EventStream, event, until_hangup
from pipelines.server.answers.generation import WholeAnswer
from pipelines.server.batching.batcher import Token
from pipelines.server.errors import ApiError
from pipelines.server.schemas.base import ERROR_RESPONSES
from pipelines.server.schemas.chat import (
    AssistantMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    ChoiceLogprobs,
    TokenLogprob,
    TopLogprob,
    as_openai_messages,
)
from pipelines.server.serving import Client, Current, Row, Serving

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES)


@router.post("/chat/completions", response_model=ChatCompletion, response_model_exclude_none=False)
async def chat_completions(
    body: ChatRequest, request: Request, serving: Current, client: Client
) -> Any:
    """Answer a conversation, whole or as server-sent events (`stream`)."""
    serving.check_model(body.model)
    if len(body.messages) > serving.settings.max_messages:
        raise ApiError(400, f"expected at most {serving.settings.max_messages} messages")
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    if body.stream:
        return EventStream(_events(body, serving, client))
    return await until_hangup(request, _answer(body, serving, client))


async def _answer(body: ChatRequest, serving: Serving, client: str) -> ChatCompletion:
    async with serving.generator.generate(
        lambda: _row(body, serving), body, client=client, num_logprobs=_num_logprobs(body)
    ) as generation:
        whole = [await WholeAnswer.of(answer) for answer in generation.answers]
        return ChatCompletion(
            id=_new_id(),
            created=int(time.time()),
            model=body.model,
            system_fingerprint=serving.fingerprint,
            choices=[
                Choice(
                    index=index,
                    message=AssistantMessage(
                        content=answer.content,
                        reasoning_content=answer.reasoning if _wants_reasoning(body) else None,
                    ),
                    logprobs=_logprobs(answer.tokens, serving) if body.logprobs else None,
                    finish_reason=answer.finish_reason,
                )
                for index, answer in enumerate(whole)
            ],
            usage=generation.usage(),
        )


async def _events(body: ChatRequest, serving: Serving, client: str) -> AsyncGenerator[bytes, None]:
    wants_usage = bool(body.stream_options and body.stream_options.include_usage)
    frame: dict[str, Any] = {
        "id": _new_id(),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": serving.fingerprint,
    }
    usage: dict[str, Any] = {"usage": None} if wants_usage else {}

    def chunk(index: int, delta: dict[str, Any], **more: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None} | more
        return event(frame | {"choices": [choice]} | usage)

    async with serving.generator.generate(
        lambda: _row(body, serving), body, client=client, num_logprobs=_num_logprobs(body)
    ) as generation:
        for index in range(len(generation.answers)):
            yield chunk(index, {"role": "assistant", "content": ""})
        async for index, delta in merged(generation.answers):
            words: dict[str, Any] = {}
            more: dict[str, Any] = {}
            if delta.reasoning and _wants_reasoning(body):
                words["reasoning_content"] = delta.reasoning
            if delta.content:
                words["content"] = delta.content
            if body.logprobs and delta.token is not None:
                more["logprobs"] = _logprobs([delta.token], serving).model_dump()
            if words or more:
                yield chunk(index, words, **more)
            if delta.finish_reason:
                yield chunk(index, {}, finish_reason=delta.finish_reason)
        if wants_usage:
            yield event(frame | {"choices": [], "usage": generation.usage().model_dump()})
    yield DONE


async def merged(answers: Sequence[AnswerStream]) -> AsyncIterator[tuple[int, Delta]]:
    """Yield the deltas of several answers as they come, each with its answer's index."""
    if len(answers) == 1:
        async for delta in answers[0].deltas():
            yield 0, delta
        return
    queue: asyncio.Queue[tuple[int, Delta | Exception | None]] = asyncio.Queue()

    async def forward(index: int, answer: AnswerStream) -> None:
        try:
            async for delta in answer.deltas():
                queue.put_nowait((index, delta))
            queue.put_nowait((index, None))
        except Exception as error:
            queue.put_nowait((index, error))

    tasks = [asyncio.ensure_future(forward(i, answer)) for i, answer in enumerate(answers)]
    try:
        left = len(tasks)
        while left:
            index, found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                left -= 1
            else:
                yield index, found
    finally:
        for task in tasks:
            task.cancel()


def _row(body: ChatRequest, serving: Serving) -> Row:
    messages = as_openai_messages(body.messages)
    for message in messages:
        if isinstance(message["content"], list):
            message["content"] = [_fetched(part, serving) for part in message["content"]]
    return render(
        messages,
        add_generation_prompt=True,
        enable_thinking=bool(body.enable_thinking),
        allow_files=False,
    ).items


def _fetched(part: dict[str, Any], serving: Serving) -> dict[str, Any]:
    """Replace a remote address by what lies behind it."""
    url = part["image_url"]["url"] if part["type"] == "image_url" else ""
    if url[:8].lower().startswith(("http://", "https://")):
        return {"type": "image", "image": serving.fetch(url)}
    return part


def _logprobs(tokens: Sequence[Token], serving: Serving) -> ChoiceLogprobs:
    text = serving.model.tokenizer.text
    return ChoiceLogprobs(
        content=[
            TokenLogprob(
                **_shown(token.id, token.logprob or 0.0, text),
                top_logprobs=[
                    TopLogprob(**_shown(token_id, logprob, text)) for token_id, logprob in token.top
                ],
            )
            for token in tokens
        ]
    )


def _shown(token_id: int, logprob: float, text: TextTokenizer) -> dict[str, Any]:
    logprob = max(logprob, -9999.0)  # what OpenAI writes for never
    if token_id >= text.size:
        return {"token": f"<|{token_id}|>", "logprob": logprob, "bytes": None}
    piece_bytes = getattr(text, "piece_bytes", None)
    data = piece_bytes(token_id) if piece_bytes else text.decode([token_id]).encode()
    return {"token": data.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(data)}


def _num_logprobs(body: ChatRequest) -> int | None:
    return (body.top_logprobs or 0) if body.logprobs else None


def _wants_reasoning(body: ChatRequest) -> bool:
    return bool(body.return_reasoning)


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"

"""`POST /v1/chat/completions`."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, Depends, Request

from pipelines.server.answers.answer_stream import AnswerStream, Delta
from pipelines.server.answers.conversation import (
    callable_tools,
    conversation_form,
    conversation_row,
)
from pipelines.server.answers.event_stream import DONE, EventStream, event, until_hangup
from pipelines.server.answers.generation import Generation, WholeAnswer
from pipelines.server.answers.log_probabilities import shown_tokens
from pipelines.server.answers.tool_calls import CallPiece, CallReader, read_reply
from pipelines.server.batching.batcher import Token
from pipelines.server.caller import Caller, Client
from pipelines.server.errors import ApiError
from pipelines.server.routes.body_kind import json_body
from pipelines.server.routes.json_route import JsonRoute
from pipelines.server.schemas.base import ERROR_RESPONSES, STREAM_RESPONSE
from pipelines.server.schemas.chat import (
    AssistantMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    ChoiceLogprobs,
)
from pipelines.server.schemas.tools import CalledFunction, ToolCall
from pipelines.server.serving import Serving
from pipelines.server.shelf import Current, Opened, Shelf

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    response_model_exclude_none=False,
    responses=STREAM_RESPONSE,
    dependencies=[Depends(json_body)],
)
async def chat_completions(
    body: ChatRequest, request: Request, shelf: Current, client: Client
) -> Any:
    """Answer a conversation, whole or as server-sent events (`stream`)."""
    if body.top_logprobs and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    if body.stream:
        return EventStream(_events(body, shelf, client))
    return await until_hangup(request, _answer(body, shelf, client))


def _generation(
    body: ChatRequest, opened: Opened, client: Caller
) -> AbstractAsyncContextManager[Generation]:
    return opened.serving.generator.generate(
        lambda: conversation_row(body, opened.serving),
        body,
        client=client,
        form=conversation_form(body),
        num_logprobs=_num_logprobs(body),
    )


async def _answer(body: ChatRequest, shelf: Shelf, client: Caller) -> ChatCompletion:
    async with shelf.open(body.model) as opened, _generation(body, opened, client) as generation:
        whole = [await WholeAnswer.of(answer) for answer in generation.answers]
        return ChatCompletion(
            id=_new_id(),
            created=int(time.time()),
            model=body.model,
            system_fingerprint=opened.serving.fingerprint,
            choices=[
                _choice(index, answer, body, opened.serving) for index, answer in enumerate(whole)
            ],
            usage=generation.usage(),
        )


def _choice(index: int, answer: WholeAnswer, body: ChatRequest, serving: Serving) -> Choice:
    reply = read_reply(answer.content) if callable_tools(body) else None
    calls = reply.calls if reply else []
    is_called = bool(calls) and answer.finish_reason == "stop"
    return Choice(
        index=index,
        message=AssistantMessage(
            content=(reply.text or (None if calls else "")) if reply else answer.content,
            reasoning_content=answer.reasoning if body.shows_reasoning else None,
            tool_calls=[
                ToolCall(
                    id=_new_call_id(),
                    function=CalledFunction(name=call.name, arguments=call.arguments),
                )
                for call in calls
            ]
            or None,
        ),
        logprobs=_logprobs(answer.tokens, serving) if body.logprobs else None,
        finish_reason="tool_calls" if is_called else answer.finish_reason,
    )


async def _events(body: ChatRequest, shelf: Shelf, client: Caller) -> AsyncGenerator[bytes, None]:
    wants_usage = bool(body.stream_options and body.stream_options.include_usage)
    async with shelf.open(body.model) as opened, _generation(body, opened, client) as generation:
        frame: dict[str, Any] = {
            "id": _new_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": body.model,
            "system_fingerprint": opened.serving.fingerprint,
        }
        usage: dict[str, Any] = {"usage": None} if wants_usage else {}
        writers = [_ChoiceWriter(index, body, opened.serving) for index in range(body.n or 1)]

        def written(choices: Sequence[dict[str, Any]]) -> bytes:
            return b"".join(event(frame | {"choices": [choice]} | usage) for choice in choices)

        for writer in writers:
            yield written([writer.opening()])
        async for index, delta in merged(generation.answers):
            if choices := writers[index].choices(delta):
                yield written(choices)
        if wants_usage:
            yield event(frame | {"choices": [], "usage": generation.usage().model_dump()})
    yield DONE


class _ChoiceWriter:
    """Turns the deltas of one answer into the `choices` of chunks."""

    def __init__(self, index: int, body: ChatRequest, serving: Serving) -> None:
        self._index, self._body, self._serving = index, body, serving
        self._reader = CallReader() if callable_tools(body) else None
        self._has_called = False

    def opening(self) -> dict[str, Any]:
        return self._choice({"role": "assistant", "content": ""})

    def choices(self, delta: Delta) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        words: dict[str, Any] = {}
        if delta.reasoning and self._body.shows_reasoning:
            words["reasoning_content"] = delta.reasoning
        for piece in self._pieces(delta):
            if isinstance(piece, CallPiece):
                found.append(self._choice({"tool_calls": [_call_delta(piece)]}))
                self._has_called = True
            elif piece:
                words["content"] = words.get("content", "") + piece
        logprobs = None
        if self._body.logprobs and delta.token is not None:
            logprobs = _logprobs([delta.token], self._serving).model_dump()
        if words or logprobs:
            found.insert(0, self._choice(words, logprobs=logprobs))
        if reason := delta.finish_reason:
            is_called = self._has_called and reason == "stop"
            found.append(self._choice({}, finish_reason="tool_calls" if is_called else reason))
        return found

    def _pieces(self, delta: Delta) -> list[str | CallPiece]:
        if self._reader is None:
            return [delta.content]
        rest = self._reader.push(delta.content)
        return rest + (self._reader.finish() if delta.finish_reason else [])

    def _choice(self, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
        empty = {"logprobs": None, "finish_reason": None}
        return {"index": self._index, "delta": delta} | empty | more


def _call_delta(piece: CallPiece) -> dict[str, Any]:
    if piece.name is None:
        return {"index": piece.index, "function": {"arguments": piece.arguments}}
    function = {"name": piece.name, "arguments": piece.arguments}
    return {
        "index": piece.index,
        "id": _new_call_id(),
        "type": "function",
        "function": function,
    }


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


def _logprobs(tokens: Sequence[Token], serving: Serving) -> ChoiceLogprobs:
    return shown_tokens(tokens, serving.model.tokenizer.text)


def _num_logprobs(body: ChatRequest) -> int | None:
    return (body.top_logprobs or 0) if body.logprobs else None


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def _new_call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"

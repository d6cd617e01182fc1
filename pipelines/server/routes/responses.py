"""`POST /v1/responses`."""

import time
import uuid
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from fastapi import APIRouter, Depends, Request

from pipelines.server.answers.conversation import (
    callable_tools,
    conversation_form,
    conversation_row,
)
from pipelines.server.answers.event_stream import EventStream, named_event, until_hangup
from pipelines.server.answers.response_items import Event, ResponseWriter
from pipelines.server.answers.responses_input import as_chat_request
from pipelines.server.caller import Caller, Client
from pipelines.server.routes.body_kind import json_body
from pipelines.server.routes.json_route import JsonRoute
from pipelines.server.schemas.base import ERROR_RESPONSES, STREAM_RESPONSE
from pipelines.server.schemas.responses import Response, ResponsesRequest
from pipelines.server.shelf import Current, Shelf

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post(
    "/responses",
    response_model=Response,
    responses=STREAM_RESPONSE,
    dependencies=[Depends(json_body)],
)
async def responses(
    body: ResponsesRequest, request: Request, shelf: Current, client: Client
) -> Any:
    """Answer a conversation, whole or as typed events (`stream`); nothing is stored."""
    if body.stream:
        return EventStream(_stream(body, shelf, client))
    return await until_hangup(request, _answer(body, shelf, client))


async def _answer(body: ResponsesRequest, shelf: Shelf, client: Caller) -> Response:
    writer = _writer(body)
    async for _ in _events(body, writer, shelf, client):
        pass
    return writer.response


async def _stream(
    body: ResponsesRequest, shelf: Shelf, client: Caller
) -> AsyncGenerator[bytes, None]:
    async for events in _events(body, _writer(body), shelf, client):
        if data := b"".join(map(named_event, events)):
            yield data


async def _events(
    body: ResponsesRequest, writer: ResponseWriter, shelf: Shelf, client: Caller
) -> AsyncGenerator[Iterable[Event], None]:
    chat = as_chat_request(body)
    async with (
        shelf.open(body.model) as opened,
        opened.serving.generator.generate(
            lambda: conversation_row(chat, opened.serving),
            chat,
            client=client,
            form=conversation_form(chat),
            field="input",
        ) as generation,
    ):
        yield list(writer.begin())
        async for delta in generation.answers[0].deltas():
            yield list(writer.push(delta))
        yield list(writer.end(generation.usage()))


def _writer(body: ResponsesRequest) -> ResponseWriter:
    chat = as_chat_request(body)
    response = Response(
        id=f"resp_{uuid.uuid4().hex}",
        created_at=int(time.time()),
        status="in_progress",
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        metadata=body.metadata or {},
        model=body.model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        reasoning=body.reasoning.model_dump(include={"effort", "summary"})
        if body.reasoning
        else {"effort": None, "summary": None},
        temperature=1.0 if body.temperature is None else body.temperature,
        text=body.text.model_dump(by_alias=True, exclude_none=True)
        if body.text and body.text.format
        else {"format": {"type": "text"}},
        tool_choice=body.tool_choice
        if isinstance(body.tool_choice, str)
        else (body.tool_choice.model_dump() if body.tool_choice else "auto"),
        tools=[tool.model_dump() for tool in body.tools or ()],
        top_p=1.0 if body.top_p is None else body.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
    )
    shows = bool(body.return_reasoning or (body.reasoning and chat.may_think))
    return ResponseWriter(response, has_tools=bool(callable_tools(chat)), shows_reasoning=shows)

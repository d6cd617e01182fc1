"""`POST /v1/multimodal/completions`: the same answers for clients that do not speak chat."""

import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Depends, Request

from pipelines.answering.prompts import prompt_row
from pipelines.server.answers.conversation import text_form
from pipelines.server.answers.event_stream import DONE, EventStream, event, until_hangup
from pipelines.server.answers.generation import WholeAnswer
from pipelines.server.caller import Caller, Client
from pipelines.server.inputs import as_items
from pipelines.server.routes.body_kind import json_body
from pipelines.server.routes.chat import merged
from pipelines.server.routes.json_route import JsonRoute
from pipelines.server.schemas.base import ERROR_RESPONSES, STREAM_RESPONSE
from pipelines.server.schemas.multimodal import (
    MultimodalChoice,
    MultimodalCompletion,
    MultimodalRequest,
)
from pipelines.server.serving import Row
from pipelines.server.shelf import Current, Shelf

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES, route_class=JsonRoute)


@router.post(
    "/multimodal/completions",
    response_model=MultimodalCompletion,
    responses=STREAM_RESPONSE,
    dependencies=[Depends(json_body)],
)
async def multimodal_completions(
    body: MultimodalRequest, request: Request, shelf: Current, client: Client
) -> Any:
    """Answer pictures, recordings and texts; without a text, the question is a default one."""
    if body.stream:
        return EventStream(_events(body, shelf, client))
    return await until_hangup(request, _answer(body, shelf, client))


async def _answer(body: MultimodalRequest, shelf: Shelf, client: Caller) -> MultimodalCompletion:
    async with (
        shelf.open(body.model) as opened,
        opened.serving.generator.generate(
            lambda: _row(body), body, client=client, form=text_form(body), field="inputs"
        ) as generation,
    ):
        whole = [await WholeAnswer.of(answer) for answer in generation.answers]
        return MultimodalCompletion(
            id=_new_id(),
            created=int(time.time()),
            model=body.model,
            choices=[
                MultimodalChoice(
                    index=index,
                    text=answer.content,
                    reasoning_content=answer.reasoning if body.shows_reasoning else None,
                    finish_reason=answer.finish_reason,
                )
                for index, answer in enumerate(whole)
            ],
            usage=generation.usage(),
        )


async def _events(
    body: MultimodalRequest, shelf: Shelf, client: Caller
) -> AsyncGenerator[bytes, None]:
    frame: dict[str, Any] = {
        "id": _new_id(),
        "object": "multimodal.completion.chunk",
        "created": int(time.time()),
        "model": body.model,
    }
    async with (
        shelf.open(body.model) as opened,
        opened.serving.generator.generate(
            lambda: _row(body), body, client=client, form=text_form(body), field="inputs"
        ) as generation,
    ):
        async for index, delta in merged(generation.answers):
            choice: dict[str, Any] = {"index": index, "finish_reason": delta.finish_reason}
            choice["text"] = delta.content
            if delta.reasoning and body.shows_reasoning:
                choice["reasoning_content"] = delta.reasoning
            if delta.content or delta.finish_reason or "reasoning_content" in choice:
                yield event(frame | {"choices": [choice]})
        if body.stream_options and body.stream_options.include_usage:
            yield event(frame | {"choices": [], "usage": generation.usage().model_dump()})
    yield DONE


def _row(body: MultimodalRequest) -> Row:
    return prompt_row(as_items(body.inputs), thinking=body.may_think)


def _new_id() -> str:
    return f"mmcmpl-{uuid.uuid4().hex}"

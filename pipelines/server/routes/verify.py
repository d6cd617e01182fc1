"""`/v1/verify`: a model elsewhere guesses tokens, this one says which it would have said itself.

By `POST` a guess at a time. By `WS` an answer: the first message is the same JSON, then
`{"draft_ids": [...]}` again and again; each is answered by one verdict, until one of them has a
`finish_reason`. The answer's keys and values stay in the cache meanwhile, and few bytes travel.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from pipelines.server.answers.event_stream import until_hangup
from pipelines.server.answers.verification import Verdict, Verification
from pipelines.server.batching.batcher import Batcher, GenerationRequest
from pipelines.server.caller import Caller, Client
from pipelines.server.errors import ApiError, as_api_error, unavailable
from pipelines.server.routes.body_kind import json_body
from pipelines.server.routes.json_route import JsonRoute
from pipelines.server.schemas.base import ERROR_RESPONSES, RequestModel
from pipelines.server.schemas.verify import NextDraft, Verified, VerifyRequest
from pipelines.server.serving import Serving
from pipelines.server.shelf import Current, Shelf

_IDLE_S = 30.0  # an answer that waits holds a place in the batch
_CLOSED_FOR_POLICY = 1008
_Message = TypeVar("_Message", bound=RequestModel)

router = APIRouter(prefix="/v1", tags=["tokens"], responses=ERROR_RESPONSES, route_class=JsonRoute)
socket_router = APIRouter(prefix="/v1", tags=["tokens"])


class _Answer:
    """One answer that is verified, guess by guess."""

    def __init__(self, batcher: Batcher, number: int, sink: Verification) -> None:
        self._batcher, self._number, self._sink = batcher, number, sink

    async def verified(self, draft: list[int]) -> Verified:
        """Return the verdict on the guess that was given last."""
        verdict: Verdict = await self._sink.verdict()
        return Verified(
            ids=list(verdict.ids),
            num_accepted=verdict.num_accepted(draft),
            finish_reason=verdict.finish_reason,
        )

    def offer(self, draft: list[int]) -> None:
        """Give the next guess."""
        self._batcher.offer(self._number, draft)


@router.post("/verify", response_model=Verified, dependencies=[Depends(json_body)])
async def verify(body: VerifyRequest, request: Request, shelf: Current, client: Client) -> Any:
    """Return the next tokens of an answer: those of a guess that are right, and one more."""

    async def work() -> Verified:
        room = len(body.draft_ids) + 2  # never full before its guess is used up
        async with _answer(body, shelf, client, max_new_tokens=room) as answer:
            return await answer.verified(body.draft_ids)

    return await until_hangup(request, work())


@socket_router.websocket("/verify")
async def verify_an_answer(socket: WebSocket, client: Client) -> None:
    """Verify guess after guess of one answer."""
    await socket.accept()
    try:
        shelf: Shelf | None = socket.app.state.shelf
        if shelf is None or not shelf.loaded:
            raise unavailable("the model is still loading; try again in a moment")
        body = await _received(socket, VerifyRequest)
        async with _answer(body, shelf, client, max_new_tokens=body.max_new_tokens) as answer:
            draft = body.draft_ids
            while True:
                verified = await answer.verified(draft)
                client.record.completion_tokens += len(verified.ids)
                await socket.send_text(verified.model_dump_json(exclude_none=True))
                if verified.finish_reason is not None:
                    break
                draft = (await _received(socket, NextDraft)).draft_ids
                answer.offer(draft)
        await socket.close()
    except WebSocketDisconnect:
        return
    except Exception as error:
        await socket.send_json(as_api_error(error).body())
        await socket.close(_CLOSED_FOR_POLICY)


@asynccontextmanager
async def _answer(
    body: VerifyRequest, shelf: Shelf, client: Caller, *, max_new_tokens: int | None
) -> AsyncIterator[_Answer]:
    async with shelf.open(body.model) as opened:
        serving = opened.serving
        batcher, sink = serving.model.batcher, Verification(serving.outbox)
        request = _request(body, serving, max_new_tokens, client)
        number = batcher.submit(request, sink)
        client.record.model = opened.name
        client.record.prompt_tokens += len(body.prompt_ids)
        try:
            yield _Answer(batcher, number, sink)
        finally:
            if not sink.is_over:
                batcher.cancel(number)


def _request(
    body: VerifyRequest, serving: Serving, max_new_tokens: int | None, client: Caller
) -> GenerationRequest:
    """Return what the batcher is asked.

    Raises:
        ApiError: 400, ids of another bundle, or that there are not; a prompt that is too long.
    """
    tokenizer, legal = serving.model.tokenizer, serving.model.legal
    if body.fingerprint not in (None, tokenizer.fingerprint):
        raise ApiError(
            400,
            f"fingerprint: expected {tokenizer.fingerprint}, of this model's bundle; the same ids "
            "mean something else here",
            code="other_vocabulary",
            param="fingerprint",
        )
    for name, ids in (("prompt_ids", body.prompt_ids), ("draft_ids", body.draft_ids)):
        if ids and max(ids) >= legal.vocab_size:
            raise ApiError(400, f"{name}: expected ids below {legal.vocab_size}", param=name)
    context = serving.model.batcher.context
    if len(body.prompt_ids) >= context:
        raise ApiError(
            400,
            f"prompt_ids: {len(body.prompt_ids)} ids, the context holds {context} with the answer",
            code="context_length_exceeded",
            param="prompt_ids",
        )
    if body.begun > len(body.prompt_ids):
        raise ApiError(400, "begun: expected no more than prompt_ids has", param="begun")
    return GenerationRequest(
        prompt_ids=body.prompt_ids,
        max_new_tokens=max_new_tokens or serving.settings.default_max_tokens,
        thinking=body.enable_thinking,
        sampling=body.sampling(default_temperature=0.0, vocab_size=legal.vocab_size),
        client=client.name,
        begun=body.begun,
        draft=tuple(body.draft_ids),
        is_drafted=True,
    )


async def _received(socket: WebSocket, kind: type[_Message]) -> _Message:
    try:
        text = await asyncio.wait_for(socket.receive_text(), _IDLE_S)
    except TimeoutError:
        raise ApiError(408, f"expected the next guess within {_IDLE_S:g} s") from None
    except KeyError:  # a binary message
        raise ApiError(400, "expected a message of text, JSON", code="invalid_json") from None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = f"{place}: {first['msg']}" if place else first["msg"]
        raise ApiError(400, message, param=place or None) from None

"""Server-sent events, and noticing that a client has hung up.

Written straight to the ASGI interface: a token is one write, and the moment a client is gone
whatever worked for it is cancelled.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipelines.server.errors import as_api_error

_Result = TypeVar("_Result")
DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any]) -> bytes:
    r"""Return one event.

    >>> event({"a": 1})
    b'data: {"a":1}\n\n'
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8", "replace") + b"\n\n"


def named_event(data: dict[str, Any]) -> bytes:
    r"""Return one event under the name that its `type` says.

    >>> named_event({"type": "a"})
    b'event: a\ndata: {"type":"a"}\n\n'
    """
    return f"event: {data['type']}\n".encode() + event(data)


class EventStream(Response):
    """Sends events as they come; an error after the first byte is an event, too."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self.status_code = 200
        self.background = None
        self._events = events
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until nobody listens."""
        try:
            first = await _next_or_hangup(self._events, receive)
        except Exception:
            await self._events.aclose()
            raise
        if first is None:
            await self._events.aclose()
            return
        pump = asyncio.ensure_future(self._pump(first, send))
        listener = asyncio.ensure_future(_hangup(receive))
        try:
            await asyncio.wait({pump, listener}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, listener):
                task.cancel()
            await asyncio.gather(pump, listener, return_exceptions=True)
            await self._events.aclose()

    async def _pump(self, first: bytes, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        try:
            async for data in self._events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except OSError:
            return  # the client is gone
        except Exception as error:
            data = event(as_api_error(error).body())
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_hangup(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result | Response:
    """Return what `work` gives; cancel it, and answer nobody, where the client hangs up first."""
    task = asyncio.ensure_future(work)
    listener = asyncio.ensure_future(_hangup(request.receive))
    try:
        await asyncio.wait({task, listener}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else Response(status_code=499)
    finally:
        for running in (task, listener):
            running.cancel()
        await asyncio.gather(task, listener, return_exceptions=True)


async def _next_or_hangup(events: AsyncGenerator[bytes, None], receive: Receive) -> bytes | None:
    task = asyncio.ensure_future(anext(events))
    listener = asyncio.ensure_future(_hangup(receive))
    try:
        await asyncio.wait({task, listener}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for running in (task, listener):
            running.cancel()
        await asyncio.gather(task, listener, return_exceptions=True)


async def _hangup(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

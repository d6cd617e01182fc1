"""The door: key, room, size and patience are checked before a body is read.

Pure ASGI, so that a stream passes through untouched. What a request is about is none of its
business.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.server.caller import record_of
from pipelines.server.door.access_log import request_id_of, write_access
from pipelines.server.door.plain_methods import find_path
from pipelines.server.door.root_path import path_of
from pipelines.server.errors import ApiError, busy
from pipelines.server.metrics import Metrics
from pipelines.server.settings import ServerSettings

_PASSED_BODIES, _PASSED_S, _SILENT_S = 10, 10.0, 0.5


class Admission:
    """ASGI middleware around the whole app.

    Args:
        app: what lies behind it.
        settings: keys and limits.
        metrics: counts requests and errors.
        routes: know the paths, for those that were turned away.
    """

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, metrics: Metrics, routes: Sequence[BaseRoute]
    ) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._routes = routes
        self._keys = [_digest(key.encode()) for key in settings.api_keys]
        self._in_flight = self._buffered = 0
        self._mean_s = 1.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        record = record_of(scope)
        record.request_id = request_id_of(headers.get("x-request-id"))
        status, started, path = 500, time.monotonic(), path_of(scope)

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.request_id
            elif message["type"] == "websocket.accept":
                status = 101
            elif message["type"] == "websocket.close" and status == 500:
                status = 403  # closed before it was accepted
            await send(message)

        try:
            await self._enter(scope, receive, counted_send, headers)
        finally:
            route = getattr(scope.get("route"), "path", None) or find_path(self._routes, scope)
            self._metrics.count(route or "other", status)
            write_access(
                self._settings.listening.access_log,
                scope=scope,
                path=path,
                status=status,
                seconds=time.monotonic() - started,
            )

    async def _enter(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        is_api = path_of(scope).startswith("/v1/")
        is_socket = scope["type"] == "websocket"
        # A browser asks OPTIONS before it sends a key; that says nothing and needs none.
        is_guarded = is_api and scope.get("method") != "OPTIONS"
        is_work = is_api and (is_socket or scope["method"] == "POST")
        body = _Body(receive, self._settings)
        started = time.monotonic()
        try:
            if is_guarded and not self._is_let_in(headers.get("authorization", "")):
                raise ApiError(
                    401,
                    "expected the header Authorization: Bearer KEY with a key of this server",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            self._check_size(headers.get("content-length"))
            if is_work and self._in_flight >= self._settings.limits.max_in_flight:
                waiting = self._in_flight / self._settings.limits.max_concurrency
                raise busy(round(waiting * self._mean_s))
        except ApiError as error:
            if error.status == 413 and "expect" not in headers:
                await _let_pass(receive, self._settings.max_body_bytes)
            await error.response()(scope, receive, send)
            return
        self._in_flight += is_work
        body.on_growth = self._count_buffered
        try:
            await self._app(scope, receive if is_socket else body.receive, send)
        finally:
            self._buffered -= body.size
            if is_work:
                self._in_flight -= 1
                self._mean_s += 0.1 * (time.monotonic() - started - self._mean_s)

    def _is_let_in(self, authorization: str) -> bool:
        if not self._keys:
            return True
        scheme, _, key = authorization.partition(" ")
        digest = _digest(key.strip().encode("utf-8", "surrogateescape"))
        # All keys are compared, each in constant time: nothing is to be learned from the clock.
        matches = [hmac.compare_digest(digest, known) for known in self._keys]
        return scheme.lower() == "bearer" and any(matches)

    def _check_size(self, length: str | None) -> None:
        limit = self._settings.max_body_bytes
        if length is not None and length.isdecimal() and int(length) > limit:
            raise _too_large(limit)

    def _count_buffered(self, num_bytes: int) -> None:
        self._buffered += num_bytes
        if self._buffered > self._settings.max_buffered_bytes:
            raise busy(1)


class _Body:
    """Receives a body of bounded size in bounded time."""

    def __init__(self, receive: Receive, settings: ServerSettings) -> None:
        self._receive, self._settings = receive, settings
        self._deadline = time.monotonic() + settings.body_timeout_s
        self._is_whole = False
        self.size = 0
        self.on_growth = lambda num_bytes: None

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        left = self._deadline - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.0))
        except TimeoutError:
            raise ApiError(
                408,
                f"expected the whole body within {self._settings.body_timeout_s:g} s",
                headers={"Connection": "close"},
            ) from None
        if message["type"] == "http.request":
            grown = len(message.get("body", b""))
            self.size += grown
            self._is_whole = not message.get("more_body", False)
            if self.size > self._settings.max_body_bytes:
                if not self._is_whole:
                    await _let_pass(self._receive, self._settings.max_body_bytes)
                raise _too_large(self._settings.max_body_bytes)
            self.on_growth(grown)
        return message


async def _let_pass(receive: Receive, limit: int) -> None:
    """Throw a body away: a client that is still sending when we hang up never reads our answer.

    As nginx lingers, but no longer than some seconds and no further than some bodies.
    """
    left, deadline = _PASSED_BODIES * limit, time.monotonic() + _PASSED_S
    while left > 0 and (seconds := deadline - time.monotonic()) > 0:
        try:
            message = await asyncio.wait_for(receive(), min(seconds, _SILENT_S))
        except TimeoutError:
            return
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        f"expected a body of at most {limit:,} bytes",
        code="body_too_large",
        headers={"Connection": "close"},
    )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()

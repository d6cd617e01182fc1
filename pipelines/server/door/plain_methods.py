"""`HEAD` wherever there is `GET`, and `OPTIONS` everywhere: what HTTP expects of any server.

RFC 9110, sections 9.3.2 and 9.3.7. The answers of other origins' preflights are CORS's, not ours.
"""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class PlainMethods:
    """ASGI middleware around the router.

    Args:
        app: what lies behind it.
        routes: know the paths.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer OPTIONS here, and HEAD as GET without its body."""
        method = scope.get("method")
        if scope["type"] != "http" or method not in ("HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
        elif method == "OPTIONS":
            await self._options(scope, receive, send)
        else:
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = [m for m in _METHODS if self._is_there({**scope, "method": m})]
        if not allowed:
            await self._app(scope, receive, send)  # it says 404
            return
        allowed += ["OPTIONS", *(["HEAD"] if "GET" in allowed else [])]
        await Response(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)

    def _is_there(self, scope: Scope) -> bool:
        return find_path(self._routes, scope) is not None


def find_path(routes: Sequence[BaseRoute], scope: Scope) -> str | None:
    """Return the path, as it is declared, of the route that a request would take."""
    for route in routes:
        match, _ = route.matches(scope)
        if match == Match.FULL:
            found: Any = getattr(route, "path", None)
            return found
    return None


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head

"""Where a proxy shows the server, such as `/dvse`: one spelling of a path for everything behind it.

Some proxies cut that prefix off, others pass it on. ASGI (version 3, "HTTP connection scope") wants
it in `path`, and named in `root_path`; so it is put there where it is missing. Whoever asks what a
request is about takes `path_of`, or it would see another path than the router: a door that looks
for `/v1/` would let `/dvse/v1/` pass.
"""

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """ASGI middleware around the whole app, the outermost.

    Args:
        app: what lies behind it.
        prefix: begins with a slash and does not end with one.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under its whole path; links of the page need the slash at its end."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path == self._prefix and scope["type"] == "http":
            await RedirectResponse(self._prefix + "/")(scope, receive, send)
            return
        if not path.startswith(self._prefix + "/"):
            path = self._prefix + path
        await self._app({**scope, "path": path, "root_path": self._prefix}, receive, send)


def path_of(scope: Scope) -> str:
    """Return a request's path as the router sees it.

    >>> path_of({"path": "/dvse/v1/models", "root_path": "/dvse"}), path_of({"path": "/health"})
    ('/v1/models', '/health')
    """
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))

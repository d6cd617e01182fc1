"""Bodies of many megabytes read quickly: while JSON is parsed no other request is answered.

Python's own parser takes 36 ms for a picture of 15 MB in base64 on a quiet machine, several times
as much on a busy one, pydantic's a tenth of that. Where that one finds a fault, Python's has the
last word on bodies that are small: it takes more (halves of surrogate pairs, UTF-16), and its
errors say more.
"""

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from pipelines.server.errors import ApiError

_SMALL = 1_000_000
# Each costs time to build, with Python's lock held: a million lists as long as a large picture.
_MOST_VALUES = 500_000
_FAULT = re.compile(r"(.*) at line (\d+) column (\d+)", re.DOTALL)


class JsonRoute(APIRoute):
    """For `APIRouter(route_class=…)`: endpoints whose JSON may be large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's own handler, given a request that reads JSON as this module does."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handle_json


class _JsonRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


def parse_json(body: bytes) -> Any:
    r"""Return what a body of JSON says.

    Raises:
        ApiError: 400, more values than any request needs.
        json.JSONDecodeError: it is none.
        RecursionError: it is nested too deeply.

    >>> parse_json(b'{"a": ["\\ud800", 1e400]}')
    {'a': ['\ud800', inf]}
    """
    num_commas = body.count(b",")
    if num_commas > _MOST_VALUES:
        raise ApiError(
            400,
            f"expected a body of at most {_MOST_VALUES:,} values, received {num_commas:,} commas",
            code="too_many_values",
        )
    try:
        return from_json(body)
    except ValueError as error:
        if len(body) <= _SMALL:
            return json.loads(body)
        raise _as_json_error(error, body) from None


def _as_json_error(error: ValueError, body: bytes) -> json.JSONDecodeError:
    text = body.decode("utf-8", "replace")
    found = _FAULT.fullmatch(str(error))
    if found is None:
        return json.JSONDecodeError(str(error), text, 0)
    line_start = 0
    for _ in range(int(found[2]) - 1):
        line_start = text.find("\n", line_start) + 1
    return json.JSONDecodeError(found[1], text, min(line_start + int(found[3]) - 1, len(text)))
